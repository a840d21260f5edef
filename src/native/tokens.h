/* Columns of rows with a target class: whether it is the most likely class, and its losses and probabilities.

   src/torchdivergence/_rows/tokens.py defines them, and has the same code in torch for other devices. */

#ifndef TORCHDIVERGENCE_TOKENS_H
#define TORCHDIVERGENCE_TOKENS_H

#include <stdint.h>

#include "job.h"

#define TOKEN_COLUMNS(X) \
    X(loss_p) X(loss_q) X(log_ratio) X(delta_p) X(delta_p_squared) \
    X(accuracy_p) X(accuracy_q) X(accuracy_difference) X(both_correct) X(worsened) X(improved) X(both_wrong_differently)

#define COLUMN_CODE(name) COLUMN_##name,
typedef enum { TOKEN_COLUMNS(COLUMN_CODE) TOKEN_COLUMN_COUNT } TokenColumn;
#undef COLUMN_CODE

/* What is known of p or of q: [rows] each. */
typedef struct {
    const double *weight, *log_mass, *top; /* the element of the target, and NaN where the target is no class */
    int is_log;                            /* whether the weights are logits or log-probabilities */
} TokenSide;

typedef struct {
    TokenSide p, q;
    const double *target;
    int64_t rows;
    double temperature;
} TokenRows;

/* -log of the probability of the target, NaN where the weight is. */
INLINE double loss_of(const TokenSide *side, double temperature, int64_t row) {
    double weight = side->weight[row];
    return at_least(0, side->log_mass[row] - (side->is_log ? weight / temperature : log_any(weight)));
}

/* exp(-loss_q) - exp(-loss_p) without cancellation, where log_ratio = loss_q - loss_p. It is NaN if both are infinite. */
INLINE double delta_p_of(double loss_p, double loss_q, double log_ratio) {
    double smaller_loss = log_ratio > 0 ? loss_p : loss_q;
    double delta = exp_of(scaled_exp(-smaller_loss)) * expm1_of(scaled_exp(-fabs(log_ratio)));
    if (log_ratio != log_ratio) return loss_p == loss_q ? 0 : NAN;
    return log_ratio > 0 ? delta : -delta;
}

/* Writes the columns of one row to out[0], out[stride], ... */
INLINE void write_token(const TokenRows *rows, int64_t row, double *out, int64_t stride) {
    double loss_p = loss_of(&rows->p, rows->temperature, row), loss_q = loss_of(&rows->q, rows->temperature, row);
    double log_ratio = loss_q - loss_p, delta = delta_p_of(loss_p, loss_q, log_ratio);
    double top_p = rows->p.top[row], top_q = rows->q.top[row], target = rows->target[row];
    int same = top_p == top_q, p_is_right = top_p == target, q_is_right = top_q == target;
    out[COLUMN_loss_p * stride] = loss_p;
    out[COLUMN_loss_q * stride] = loss_q;
    out[COLUMN_log_ratio * stride] = log_ratio;
    out[COLUMN_delta_p * stride] = delta;
    out[COLUMN_delta_p_squared * stride] = delta * delta;
    out[COLUMN_accuracy_p * stride] = p_is_right;
    out[COLUMN_accuracy_q * stride] = q_is_right;
    out[COLUMN_accuracy_difference * stride] = q_is_right - p_is_right;
    out[COLUMN_both_correct * stride] = p_is_right && q_is_right;
    out[COLUMN_worsened * stride] = p_is_right && !q_is_right;
    out[COLUMN_improved * stride] = q_is_right && !p_is_right;
    out[COLUMN_both_wrong_differently * stride] = !p_is_right && !q_is_right && !same;
}

/* Writes the columns of all rows, [columns, rows]. */
FUSED static inline void write_tokens(const TokenRows *rows, double *out) {
    for (int64_t row = 0; row < rows->rows; row++) write_token(rows, row, out + row, rows->rows);
}

#endif
