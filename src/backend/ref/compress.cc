#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "backend/ref/numbers.h"
#include "backend/ref/ops.h"
#include "tensor/rows.h"

namespace precis::ref {
namespace {

// Pools the state into one row: per channel, the values weighted by a softmax of their scores.
// When overlapping, rows of the previous block give their low channels, those of the current block
// their high ones.
std::vector<float> pool_state(const CompressArgs& args) {
  const int width = args.width();
  std::vector<float> out(width);
  for (int channel = 0; channel < width; ++channel) {
    const auto column = [&](std::int64_t slot) {
      return args.overlap && slot >= args.ratio ? width + channel : channel;
    };
    float max = -std::numeric_limits<float>::infinity();
    for (std::int64_t slot = 0; slot < args.state_score.rows; ++slot) {
      max = std::max(max, args.state_score(slot, column(slot)));
    }
    double sum = 0;
    double weighted = 0;
    for (std::int64_t slot = 0; slot < args.state_score.rows; ++slot) {
      const double score = args.state_score(slot, column(slot));
      const double weight = std::exp(score - max);
      sum += weight;
      weighted += weight * args.state_kv(slot, column(slot));
    }
    out[channel] = rounded(weighted / sum, args.rounding);
  }
  return out;
}

void store_row(const CompressArgs& args, std::int64_t nth_finished) {
  std::vector<float> row = pool_state(args);
  normalise(row, args.norm, args.eps, args.rounding, row);
  rotate_tail(row, args.rope, nth_finished, Rotation::kForward, args.rounding);
  const std::int64_t row_idx = args.first_row() + nth_finished;
  if (args.kind == CompressedKind::kKvRow) {
    write_kv_row(args.rows, row_idx, args.kv_format, row);
  } else {
    hadamard(row, args.rounding);
    write_index_row(args.rows, row_idx, args.index_format, row);
  }
}

}  // namespace

void compress(const CompressArgs& args) {
  std::int64_t n_finished = 0;
  for (std::int64_t t = 0; t < args.kv.rows; ++t) {
    const std::int64_t in_block = (args.first_position + t) % args.ratio;
    const std::int64_t slot = (args.overlap ? args.ratio : 0) + in_block;
    for (std::int64_t c = 0; c < args.kv.cols; ++c) {
      args.state_kv(slot, c) = args.kv(t, c);
      args.state_score(slot, c) = args.score(t, c) + args.ape[in_block * args.kv.cols + c];
    }
    if (in_block != args.ratio - 1) continue;
    store_row(args, n_finished++);
    if (!args.overlap) continue;
    for (int r = 0; r < args.ratio; ++r) {
      std::ranges::copy(args.state_kv.row_span(args.ratio + r), args.state_kv.row(r));
      std::ranges::copy(args.state_score.row_span(args.ratio + r), args.state_score.row(r));
    }
  }
}

}  // namespace precis::ref
