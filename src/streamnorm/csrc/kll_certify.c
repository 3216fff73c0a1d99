/* How far a quantile can be off: intervals of ranks and of values, proved; see kll.h.
 *
 * Source: the inequality of Azuma and Hoeffding over the steps that kll.c lists, whose variance proxies V and largest
 * errors the sketch sums up: for a point x that does not depend on the coins, the sketch's rank r(x) exceeds the true
 * R(x) by more than D = sqrt(2 V ln(2 / delta)) with probability delta / 2 at most, and falls short of it likewise;
 * by more than `worst`, never, and that for all x at once. r-(x) and R-(x) count what is below x.
 *
 * Ranks. The answer v to q has r-(v) < qn <= r(v), but depends on the coins, so the inequality is applied to the two
 * points where the true rank passes qn - D and qn + D, which do not: v can lie below the first only if the sketch
 * errs there by more than D, and above the second likewise. So R(v) >= qn - D and R-(v) <= qn + D, each but for delta
 * / 2: the ranks of v, [R-(v), R(v)], meet [qn - D, qn + D]. What holds for all x at once holds for v as well, hence
 * the rank of v nearest to q is at least min(q, r(v) - worst) and at most max(q, r-(v) + worst), and on the right
 * side of q for the minimum and the maximum.
 *
 * Values. The true quantile x is such a point: R-(x) < qn <= R(x). So r(x) >= qn - D and r-(x) <= qn + D, each but
 * for delta / 2, which leaves the values between the first key with r >= qn - D and the first with r > qn + D. One
 * rank more on either side takes in both neighbours between which NumPy's linear quantile lies.
 *
 * With weights all of this holds with weights in place of numbers of values, and the quantile is never interpolated.
 *
 * Not done here: both intervals at once, or several quantiles at once; their failures may add up.
 *
 * Design: the tie weights r(v) and r-(v) sharpen the intervals only by `worst`, not by D, which would often be as
 * narrow as a rank but is proved for points that do not depend on the coins alone.
 */
#include "kll_state.h"
#include "kll_weighted.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

/* What is asked: sorted keys, sums of their weights up to each, and the errors, all in units of the count. */
typedef struct {
    const sn_kll *kll;
    const sn_keys *merged;
    const double *sums;
    double total, bound, worst; /* the bounds with what rounding may have done to the sums */
    double step;                /* to the neighbour that a quantile may be interpolated with; 0 with weights */
} questions;

/* Number of keys, ascending, that are below `key`. */
static int64_t count_below(const int64_t *keys, int64_t n, int64_t key)
{
    int64_t lo = 0, hi = n;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        if (keys[mid] < key) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

static void certify_ranks(sn_kll_certificate *out, const questions *asked, int64_t key, double q)
{
    const int64_t *keys = asked->merged->keys;
    double target = q * asked->total;
    int64_t first = count_below(keys, asked->merged->size, key);
    int64_t end = count_below(keys, asked->merged->size, key + 1);
    double below = first > 0 ? asked->sums[first - 1] : 0, upto = end > 0 ? asked->sums[end - 1] : 0;
    double low = fmax(target - asked->bound, upto - asked->worst);
    double high = fmin(target + asked->bound, below + asked->worst);
    /* q itself where it is reached: q * total / total may be another double */
    out->low = low >= target || key == asked->kll->max ? q : fmin(q, fmax(0, low / asked->total));
    out->high = high <= target || key == asked->kll->min ? q : fmax(q, fmin(1, high / asked->total));
}

static void certify_values(sn_kll_certificate *out, const questions *asked, double q)
{
    const sn_keys *merged = asked->merged;
    double target = q * asked->total;
    double from = target - asked->bound - asked->step, to = target + asked->bound + asked->step;
    int64_t low = asked->kll->min, high = asked->kll->max;
    if (q > 0 && q < 1) {
        if (from > 0) {
            low = merged->keys[sn_kll_first_reaching(asked->sums, merged->size, from)];
        }
        if (to < asked->sums[merged->size - 1]) {
            high = merged->keys[sn_kll_first_reaching(asked->sums, merged->size, nextafter(to, INFINITY))];
        }
    } else if (q == 0) {
        high = low;
    } else {
        low = high;
    }
    out->value_low = sn_key_to_double(low);
    out->value_high = sn_key_to_double(high);
}

static sn_status certify_sampled(const sn_kll *kll, sn_kll_certificate *out, const double *q, double delta,
                                 int64_t nq, const sn_keys *merged)
{
    double *sums = sn_kll_sums(merged);
    if (!sums) {
        return SN_ERR_NOMEM;
    }
    double total = sn_kll_weight(kll), rounding = 2 * DBL_EPSILON * (double)merged->size * total;
    double likely = delta > 0 ? sqrt(2 * log(2 / delta) * kll->variance) : INFINITY;
    double bound = fmin(kll->worst, ldexp(likely, -sn_kll_variance_unit(kll->weighted)));
    double step = kll->weighted ? 0 : 1;
    questions asked = {kll, merged, sums, total, bound + rounding, kll->worst + rounding, step};
    for (int64_t i = 0; i < nq; i++) {
        int64_t key = sn_kll_key_at(kll, merged, sums, q[i]);
        out[i].value = sn_key_to_double(key);
        certify_ranks(&out[i], &asked, key, q[i]);
        certify_values(&out[i], &asked, q[i]);
    }
    free(sums);
    return SN_OK;
}

sn_status sn_kll_certify(const sn_kll *kll, sn_kll_certificate *out, const double *q, double delta, int64_t nq)
{
    if (!(delta >= 0 && delta <= 1)) {
        return SN_ERR_INVALID;
    }
    for (int64_t i = 0; i < nq; i++) {
        if (!(q[i] >= 0 && q[i] <= 1)) {
            return SN_ERR_INVALID;
        }
        out[i] = (sn_kll_certificate){NAN, NAN, NAN, NAN, NAN};
    }
    if (kll->count == 0 || nq == 0) {
        return SN_OK;
    }
    sn_keys merged = {0};
    int64_t *sorted, *arena;
    sn_status status = sn_kll_merge_everything(kll, &merged, &sorted, &arena);
    if (status == SN_OK && kll->worst == 0 && !kll->weighted) {
        for (int64_t i = 0; i < nq; i++) {
            double value = sn_kll_exact_quantile(merged.keys, merged.size, q[i]);
            out[i] = (sn_kll_certificate){value, q[i], q[i], value, value};
        }
    } else if (status == SN_OK && kll->worst == 0) {
        double *sums = sn_kll_sums(&merged);
        for (int64_t i = 0; i < nq && sums; i++) {
            double value = sn_key_to_double(sn_kll_key_at(kll, &merged, sums, q[i]));
            out[i] = (sn_kll_certificate){value, q[i], q[i], value, value};
        }
        status = sums ? SN_OK : SN_ERR_NOMEM;
        free(sums);
    } else if (status == SN_OK) {
        status = certify_sampled(kll, out, q, delta, nq, &merged);
    }
    free(sorted);
    free(arena);
    return status;
}
