/* The summands of the terms that need more than a line: functions of one class of a normalized pair.

   The probabilities of a class are written as w and v, where t = log(w / v): w may be p or q. */

#ifndef TORCHDIVERGENCE_SUMMANDS_H
#define TORCHDIVERGENCE_SUMMANDS_H

#include "pair.h"

/* 1 - r + r log(r) >= 0 for a ratio r from 1 / e to 1. */
INLINE double excess_of_smaller(const NormalizedPair *pair, int i, double distance) {
    return fma(distance, distance, -(1 + distance) * pair->excess[i]);
}

/* The same for any ratio. */
INLINE double excess_of_any(const NormalizedPair *pair, int i, double distance) {
    double far = fma(-pair->ratio[i], at_most(-MIN_LOG, distance), pair->rel_abs_diff[i]);
    return distance > 1 ? far : excess_of_smaller(pair, i, distance);
}

/* v - w + w t = w (exp(-t) - 1 + t) >= 0. */
INLINE double excess_weight(const NormalizedPair *pair, int i, double t) {
    return nan_to_inf(pair->larger[i] * (t > 0 ? pair->excess[i] : excess_of_any(pair, i, fabs(t))));
}

/* (w**(1 + rate) v**-rate - w) / rate - (w - v) >= 0 for rate > -1. */
INLINE double power_summand(const NormalizedPair *pair, int i, double t, double rate, double inv_rate) {
    double larger = pair->larger[i], w = t > 0 ? larger : larger * pair->ratio[i], x = rate * t;
    double log_w = pair->log_larger[i] + (t > 0 ? 0 : t);
    int is_steep = fabs(x) > 1;
    ScaledExp half = scaled_half_exp(is_steep ? log_w + x : x), e = half; /* -inf + inf is NaN, and the power is 0 */
    e.scale *= 2;
    double gain = is_steep ? 2 * exp_of(half) - w : w * expm1_of(e);
    double far = fma(gain, inv_rate, -copysign(larger * pair->rel_abs_diff[i], t));
    double excess = t > 0 ? pair->excess[i] : excess_of_smaller(pair, i, fabs(t));
    double near = fma(w * excess_of(e, x), inv_rate, larger * excess);
    return is_steep || fabs(t) > 1 ? far : near;
}

/* The summand of Jensen-Shannon, where beta and 1 - beta are the weights of p and q in the mixture m.

   With the larger probability L, its weight b, and x = (1 - b) (1 - r), m / L = 1 - x and the summand is
   L ((1 - b) (1 - r + r log(r)) - ((1 - x) log(1 - x) + x)): one logarithm, and both parts are of second order in x.
   Their difference is b times as large, so this is accurate unless beta is near 0 or 1. */
INLINE double balanced_jensen_shannon(const NormalizedPair *pair, int i, double beta) {
    double log_ratio = pair->log_ratio[i], distance = fabs(log_ratio);
    double weight_smaller = log_ratio > 0 ? 1 - beta : beta;
    double x = weight_smaller * pair->rel_abs_diff[i], rounded = 1 - x;
    ScaledLog log = scaled_log(rounded, 1 - rounded - x);
    double near = log.s * log.f * fma((1 + log.s) * log.s, log.series / 2, 1); /* (1 + f) log(1 + f) - f */
    double mixture_part = log.exponent == 0 ? near : fma(rounded, log_of(log), x);
    return pair->larger[i] * fma(weight_smaller, excess_of_any(pair, i, distance), -mixture_part);
}

/* The same for every beta, with two logarithms. */
INLINE double jensen_shannon(const NormalizedPair *pair, int i, double beta) {
    double log_ratio = pair->log_ratio[i], ratio = pair->ratio[i], rel_abs_diff = pair->rel_abs_diff[i];
    double weight_larger = log_ratio > 0 ? beta : 1 - beta;
    double weight_smaller = log_ratio > 0 ? 1 - beta : beta;
    /* mixture / larger = 1 - deficit, as a rounded sum and its rounding error */
    double deficit = weight_smaller * rel_abs_diff, rounded = 1 - deficit, tail = 1 - rounded - deficit;
    double mixture = deficit > 0.5 ? fma(weight_smaller, ratio, weight_larger) : rounded;
    double log_over_larger = log_normal(mixture, deficit > 0.5 ? 0 : tail);
    double log_over_smaller = log1p_of(weight_larger * rel_abs_diff / ratio);
    double term_smaller = nan_to_zero(weight_smaller * ratio * log_over_smaller);
    return -pair->larger[i] * fma(weight_larger, log_over_larger, term_smaller);
}

#endif
