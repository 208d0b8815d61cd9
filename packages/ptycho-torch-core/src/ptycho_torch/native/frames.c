/* Arithmetic on frames around their Fourier transforms, one pass over memory each.
 *
 * Complex numbers are pairs of floats, arrays are contiguous with the last index fastest. A patch of n x n pixels
 * lies on an image of `width` columns with its pixel (0, 0) at `corner` (row, column); with `rest` (down, right,
 * each in [0, 1)) every pixel is the bilinear mean of four, and the image holds a row and a column more. `rest` is
 * NULL where patches lie at whole pixels. `light` goes on by `stride` floats from frame to frame, 0 if all frames
 * share it. Callers have checked the bounds.
 */

#include <math.h>
#include <stdint.h>
#include <string.h>

#define BLOCK 256
#define DARK 1e-30f
#define TINY 1e-24f

typedef int64_t whole;

/* Natural logarithm of a normal positive float, to one unit in the last place: the polynomial of cephes' logf
 * (S. L. Moshier) on [sqrt(1/2), sqrt(2)). Written out so that compilers make vectors of it. */
static inline float natural_log(float value)
{
    int32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const int32_t exponent = (bits - 0x3f3504f3) >> 23;
    bits -= (int32_t)((uint32_t)exponent << 23);
    float mantissa;
    memcpy(&mantissa, &bits, sizeof mantissa);
    const float f = mantissa - 1.0f, square = f * f, e = (float)exponent;
    float p = 7.0376836292e-2f;
    p = p * f - 1.1514610310e-1f;
    p = p * f + 1.1676998740e-1f;
    p = p * f - 1.2420140846e-1f;
    p = p * f + 1.4249322787e-1f;
    p = p * f - 1.6668057665e-1f;
    p = p * f + 2.0000714765e-1f;
    p = p * f - 2.4999993993e-1f;
    p = p * f + 3.3333331174e-1f;
    return f + (p * f * square - 0.5f * square + e * -2.12194440e-4f) + e * 0.693359375f;
}

/* Row of a patch: `row` receives 2 n floats. */
static inline void cut_row(float *restrict row, const float *restrict above, const float *restrict below,
                           const float *rest, whole n)
{
    const float down = rest[0], right = rest[1];
    const float a = (1 - down) * (1 - right), b = (1 - down) * right, c = down * (1 - right), d = down * right;
    for (whole x = 0; x < 2 * n; x++)
        row[x] = a * above[x] + b * above[x + 2] + c * below[x] + d * below[x + 2];
}

/* waves[j, m] = scale * patch[j] * light[m]; patches are kept where `patches` is not NULL. */
void exit_waves(const float *image, whole width, const whole *corner, const float *rest, const float *light,
                whole stride, float scale, float *patches, float *waves, whole count, whole modes, whole n)
{
    float row[2 * n];
    for (whole j = 0; j < count; j++)
        for (whole y = 0; y < n; y++) {
            const float *above = image + 2 * ((corner[2 * j] + y) * width + corner[2 * j + 1]);
            const float *patch = above;
            if (rest) {
                float *kept = patches ? patches + 2 * (j * n + y) * n : row;
                cut_row(kept, above, above + 2 * width, rest + 2 * j, n);
                patch = kept;
            } else if (patches)
                memcpy(patches + 2 * (j * n + y) * n, above, 2 * n * sizeof(float));
            for (whole m = 0; m < modes; m++) {
                const float *restrict p = light + j * stride + 2 * (m * n + y) * n;
                float *restrict wave = waves + 2 * ((j * modes + m) * n + y) * n;
                for (whole x = 0; x < n; x++) {
                    const float re = patch[2 * x] * scale, im = patch[2 * x + 1] * scale;
                    wave[2 * x] = re * p[2 * x] - im * p[2 * x + 1];
                    wave[2 * x + 1] = re * p[2 * x + 1] + im * p[2 * x];
                }
            }
        }
}

/* Counts of a block as floats, from an array of any of the kinds that detectors write. */
#define READ(type)                                                                                                     \
    do {                                                                                                               \
        const type *restrict from = (const type *)frames + at;                                                         \
        for (int k = 0; k < size; k++)                                                                                 \
            counts[k] = (float)from[k] * per_count;                                                                    \
    } while (0)

static void read_counts(float *restrict counts, const void *frames, int kind, whole at, float per_count, int size)
{
    switch (kind) {
    case 0: READ(float); break;
    case 1: READ(double); break;
    case 2: READ(uint8_t); break;
    case 3: READ(uint16_t); break;
    case 4: READ(uint32_t); break;
    case 5: READ(int8_t); break;
    case 6: READ(int16_t); break;
    case 7: READ(int32_t); break;
    }
}

/* Amplitudes of a block, written so that a NaN stays one, and their sums. */
#define AMPLITUDES(k)                                                                                                  \
    const float lambda = predicted[k] < TINY ? TINY : predicted[k];                                                    \
    const float counts = measured[k] < DARK ? DARK : measured[k];                                                      \
    const float modulus = sqrtf(lambda), amplitude = sqrtf(counts);                                                    \
    const float ratio = amplitude / modulus, difference = modulus - amplitude;                                         \
    differences += fabsf(difference);                                                                                  \
    amplitudes += amplitude;                                                                                           \
    total += counts

static void poisson_weights(const float *restrict predicted, const float *restrict measured, float *restrict weight,
                            double *sums, int size)
{
    float differences = 0, amplitudes = 0, objective = 0, total = 0;
    for (int k = 0; k < size; k++) {
        AMPLITUDES(k);
        const float bounded = ratio > 2.0f ? 2.0f : ratio;
        objective += difference * (modulus + amplitude) + 2 * counts * natural_log(ratio);
        weight[k] = (1 - ratio) * (1 + bounded) * 0.5f;
    }
    sums[0] += differences, sums[1] += amplitudes, sums[2] += objective, sums[3] += total;
}

static void amplitude_weights(const float *restrict predicted, const float *restrict measured, float *restrict weight,
                              double *sums, int size)
{
    float differences = 0, amplitudes = 0, objective = 0, total = 0;
    for (int k = 0; k < size; k++) {
        AMPLITUDES(k);
        objective += difference * difference;
        weight[k] = 1 - ratio;
    }
    sums[0] += differences, sums[1] += amplitudes, sums[2] += objective, sums[3] += total;
}

/* Complex numbers times real ones, in place. */
static inline void multiply(float *restrict values, const float *restrict weight, whole size)
{
    for (whole k = 0; k < size; k++) {
        values[2 * k] *= weight[k];
        values[2 * k + 1] *= weight[k];
    }
}

/* residual = scale * weight * field with the weight of the noise model; `residual` may be `field`. Frame j holds
 * per_count times the counts of frame index[j] of `frames`, whose numbers are of the `kind` that read_counts knows.
 * `sums` gains |a - A|, A, the objective and I. `mask` (one where measured) and `kept` (the weight) may be NULL. */
void weigh(const float *field, const void *frames, int kind, const whole *index, float per_count, const float *mask,
           int poisson, float scale, float *residual, float *kept, double *sums, whole count, whole modes,
           whole pixels)
{
    for (whole j = 0; j < count; j++)
        for (whole start = 0; start < pixels; start += BLOCK) {
            const int size = pixels - start < BLOCK ? (int)(pixels - start) : BLOCK;
            float measured[BLOCK];
            read_counts(measured, frames, kind, index[j] * pixels + start, per_count, size);
            if (mask)
                for (int k = 0; k < size; k++)
                    measured[k] *= mask[start + k];
            float predicted[BLOCK], weight[BLOCK];
            for (whole m = 0; m < modes; m++) {
                const float *restrict f = field + 2 * ((j * modes + m) * pixels + start);
                if (m == 0)
                    for (whole k = 0; k < size; k++)
                        predicted[k] = f[2 * k] * f[2 * k] + f[2 * k + 1] * f[2 * k + 1];
                else
                    for (whole k = 0; k < size; k++)
                        predicted[k] += f[2 * k] * f[2 * k] + f[2 * k + 1] * f[2 * k + 1];
            }
            if (mask)
                for (whole k = 0; k < size; k++)
                    predicted[k] *= mask[start + k];
            if (poisson)
                poisson_weights(predicted, measured, weight, sums, size);
            else
                amplitude_weights(predicted, measured, weight, sums, size);
            if (mask)
                for (whole k = 0; k < size; k++)
                    weight[k] *= mask[start + k];
            if (kept)
                memcpy(kept + j * pixels + start, weight, size * sizeof(float));
            for (whole k = 0; k < size; k++)
                weight[k] *= scale;
            for (whole m = 0; m < modes; m++) {
                const whole at = 2 * ((j * modes + m) * pixels + start);
                if (residual != field)
                    memcpy(residual + at, field + at, 2 * size * sizeof(float));
                multiply(residual + at, weight, size);
            }
        }
}

/* Row of a patch laid between pixels along x: `row` has 2 (n + 1) floats, `patch` 2 n with a zero pixel on both
 * sides. */
static inline void spread_row(float *restrict row, const float *restrict patch, float right, whole n, whole parts)
{
    for (whole x = 0; x < parts * (n + 1); x++)
        row[x] = (1 - right) * patch[x] + right * patch[x - parts];
}

/* Adds rows of patches to an image, each as soon as it is there; `parts` floats make a pixel. */
static inline void lay_row(float *image, whole width, const whole *corner, const float *rest, const float *patch,
                           float *above, float *row, whole y, whole n, whole parts)
{
    float *restrict target = image + parts * ((corner[0] + y) * width + corner[1]);
    if (!rest) {
        for (whole x = 0; x < parts * n; x++)
            target[x] += patch[x];
        return;
    }
    const float down = rest[0];
    spread_row(row, patch, rest[1], n, parts);
    for (whole x = 0; x < parts * (n + 1); x++) {
        target[x] += (1 - down) * row[x] + down * above[x];
        above[x] = row[x];
    }
}

/* The last row, which only patches between pixels reach. */
static inline void lay_rim(float *image, whole width, const whole *corner, const float *rest, const float *above,
                           whole n, whole parts)
{
    if (!rest)
        return;
    float *restrict target = image + parts * ((corner[0] + n) * width + corner[1]);
    for (whole x = 0; x < parts * (n + 1); x++)
        target[x] += rest[0] * above[x];
}

/* image += sum over j of the placed patch[j] = sum over m of conj(light[m]) waves[j, m]: the adjoint of
 * exit_waves for scale 1. */
void lay_waves(float *image, whole width, const whole *corner, const float *rest, const float *light, whole stride,
               const float *waves, whole count, whole modes, whole n)
{
    float padded[2 * (n + 2)], row[2 * (n + 1)], above[2 * (n + 1)];
    float *patch = padded + 2;
    memset(padded, 0, sizeof padded);
    for (whole j = 0; j < count; j++) {
        memset(above, 0, sizeof above);
        for (whole y = 0; y < n; y++) {
            for (whole m = 0; m < modes; m++) {
                const float *restrict p = light + j * stride + 2 * (m * n + y) * n;
                const float *restrict w = waves + 2 * ((j * modes + m) * n + y) * n;
                if (m == 0)
                    for (whole x = 0; x < n; x++) {
                        patch[2 * x] = w[2 * x] * p[2 * x] + w[2 * x + 1] * p[2 * x + 1];
                        patch[2 * x + 1] = w[2 * x + 1] * p[2 * x] - w[2 * x] * p[2 * x + 1];
                    }
                else
                    for (whole x = 0; x < n; x++) {
                        patch[2 * x] += w[2 * x] * p[2 * x] + w[2 * x + 1] * p[2 * x + 1];
                        patch[2 * x + 1] += w[2 * x + 1] * p[2 * x] - w[2 * x] * p[2 * x + 1];
                    }
            }
            lay_row(image, width, corner + 2 * j, rest ? rest + 2 * j : 0, patch, above, row, y, n, 2);
        }
        lay_rim(image, width, corner + 2 * j, rest ? rest + 2 * j : 0, above, n, 2);
    }
}

/* image += sum over j of the placed values[j], real; they go on by `stride` floats from frame to frame. */
void lay_values(float *image, whole width, const whole *corner, const float *rest, const float *values, whole stride,
                whole count, whole n)
{
    float padded[n + 2], row[n + 1], above[n + 1];
    memset(padded, 0, sizeof padded);
    for (whole j = 0; j < count; j++) {
        memset(above, 0, sizeof above);
        for (whole y = 0; y < n; y++) {
            memcpy(padded + 1, values + j * stride + y * n, n * sizeof(float));
            lay_row(image, width, corner + 2 * j, rest ? rest + 2 * j : 0, padded + 1, above, row, y, n, 1);
        }
        lay_rim(image, width, corner + 2 * j, rest ? rest + 2 * j : 0, above, n, 1);
    }
}

/* gradient[m] += sum over j of conj(patch[j]) waves[j, m], power += sum over j of |patch[j]|^2. */
void gather_waves(const float *patches, const float *waves, float *gradient, float *power, whole count, whole modes,
                  whole pixels)
{
    for (whole start = 0; start < pixels; start += BLOCK) {
        const whole size = pixels - start < BLOCK ? pixels - start : BLOCK;
        for (whole j = 0; j < count; j++) {
            const float *restrict p = patches + 2 * (j * pixels + start);
            float *restrict sum = power + start;
            for (whole k = 0; k < size; k++)
                sum[k] += p[2 * k] * p[2 * k] + p[2 * k + 1] * p[2 * k + 1];
            for (whole m = 0; m < modes; m++) {
                const float *restrict w = waves + 2 * ((j * modes + m) * pixels + start);
                float *restrict g = gradient + 2 * (m * pixels + start);
                for (whole k = 0; k < size; k++) {
                    g[2 * k] += p[2 * k] * w[2 * k] + p[2 * k + 1] * w[2 * k + 1];
                    g[2 * k + 1] += p[2 * k] * w[2 * k + 1] - p[2 * k + 1] * w[2 * k];
                }
            }
        }
    }
}

/* Derivatives of row y of a patch by its own place: of the bilinear means with `rest`, and central differences of
 * an image that goes on at its other side without. */
static inline void slope_row(float *restrict down, float *restrict right, float *restrict wide, const float *image,
                             whole height, whole width, const whole *corner, const float *rest, whole y, whole n)
{
    const whole row = corner[0] + y, column = corner[1];
    if (rest) {
        const float *restrict above = image + 2 * (row * width + column), *restrict below = above + 2 * width;
        const float lower = rest[0], beside = rest[1];
        for (whole x = 0; x < 2 * (n + 1); x++)
            wide[x] = (1 - lower) * above[x] + lower * below[x];
        for (whole x = 0; x < 2 * n; x++) {
            down[x] = (1 - beside) * (below[x] - above[x]) + beside * (below[x + 2] - above[x + 2]);
            right[x] = wide[x + 2] - wide[x];
        }
        return;
    }
    const float *restrict above = image + 2 * ((row > 0 ? row - 1 : height - 1) * width + column);
    const float *restrict below = image + 2 * ((row + 1 < height ? row + 1 : 0) * width + column);
    const float *whole_row = image + 2 * row * width;
    memcpy(wide, whole_row + 2 * (column > 0 ? column - 1 : width - 1), 2 * sizeof(float));
    memcpy(wide + 2, whole_row + 2 * column, 2 * n * sizeof(float));
    memcpy(wide + 2 * (n + 1), whole_row + 2 * (column + n < width ? column + n : 0), 2 * sizeof(float));
    for (whole x = 0; x < 2 * n; x++) {
        down[x] = 0.5f * (below[x] - above[x]);
        right[x] = 0.5f * (wide[x + 4] - wide[x]);
    }
}

/* products[j] = (yy, xy, xx, ty, tx): with s the slopes of patch j by y and by x, sums over its pixels of |light|^2
 * Re(conj(s) s) and, with t = sum over m of conj(light[m]) waves[j, m], of Re(conj(s) t). */
void slope_products(const float *image, whole width, const whole *corner, const float *rest, whole height,
                    const float *light, whole stride, const float *waves, double *products, whole count,
                    whole modes, whole n)
{
    float down[2 * n], right[2 * n], wide[2 * (n + 2)], towards[2 * n], power[2 * n];
    for (whole j = 0; j < count; j++) {
        double *sums = products + 5 * j;
        memset(sums, 0, 5 * sizeof(double));
        for (whole y = 0; y < n; y++) {
            slope_row(down, right, wide, image, height, width, corner + 2 * j, rest ? rest + 2 * j : 0, y, n);
            memset(towards, 0, sizeof towards);
            memset(power, 0, sizeof power);
            for (whole m = 0; m < modes; m++) {
                const float *restrict p = light + j * stride + 2 * (m * n + y) * n;
                const float *restrict w = waves + 2 * ((j * modes + m) * n + y) * n;
                for (whole x = 0; x < n; x++) {
                    const float size = p[2 * x] * p[2 * x] + p[2 * x + 1] * p[2 * x + 1];
                    power[2 * x] += size;
                    power[2 * x + 1] += size;
                    towards[2 * x] += w[2 * x] * p[2 * x] + w[2 * x + 1] * p[2 * x + 1];
                    towards[2 * x + 1] += w[2 * x + 1] * p[2 * x] - w[2 * x] * p[2 * x + 1];
                }
            }
            float yy = 0, xy = 0, xx = 0, ty = 0, tx = 0;
            for (whole x = 0; x < 2 * n; x++) {
                const float weighted = power[x] * down[x];
                yy += weighted * down[x];
                xy += weighted * right[x];
                xx += power[x] * right[x] * right[x];
                ty += down[x] * towards[x];
                tx += right[x] * towards[x];
            }
            sums[0] += yy, sums[1] += xy, sums[2] += xx, sums[3] += ty, sums[4] += tx;
        }
    }
}
