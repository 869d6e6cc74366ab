// The lightning indexer's choice: which compressed rows each token reads.
#pragma once

#include <cstdint>
#include <span>

#include "ops/weight.h"
#include "tensor/view.h"

namespace precis {

/// For each token, the min(K, n_visible) visible rows of largest score, in descending order.
///
/// Shapes    queries: T·Hi packed rows, token-major · weights [T, Hi] f32 · keys: packed rows
///           n_visible [T] rows visible to each token · out [T, K], filled with −1 at the end
/// score(t, s) = Σ_h round(weights[t, h] · weight_scale) · relu(Σ_g 2^(qe + ke)·Σ_32 q·k), heads
/// ascending; the inner sums are integers over codes and exact.  With e4m3 rows there is one group,
/// its scales are F32 and its sum is rounded.  Rounding kBf16 rounds the scaled
/// weights, and the final score once.
/// Ensures   order by score descending, then row ascending: the result is a function of the scores
/// Cost      2·T·Hi·Di·n_visible flop; no buffer of n_visible scores per token
/// Source    docs/model.md §5.5; model.py `Indexer.forward`
struct SelectArgs {
  RowPool queries;
  Mat<const float> weights;
  float weight_scale = 1;  // Di^−0.5 · Hi^−0.5
  RowPool keys;
  IndexRowFormat format;
  std::span<const std::int32_t> n_visible;
  Mat<std::int32_t> out;
  Rounding rounding = Rounding::kNone;
};

void check(const SelectArgs& args);

}  // namespace precis
