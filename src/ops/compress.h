// The compressor: R tokens become one row (two overlapping blocks at ratio 4).
#pragma once

#include <span>

#include "ops/rope.h"
#include "ops/weight.h"
#include "tensor/view.h"

namespace precis {

/// What the finished rows are: KV rows (FP8 + rotary part) or index rows (Hadamard, FP4).
enum class CompressedKind : std::uint8_t { kKvRow, kIndexRow };

/// Adds T tokens to a compressor and stores every row that they finish.
///
/// Shapes    kv, score [T, w·(1+o)] f32 (projections wkv and wgate; o = 1 when overlapping)
///           ape [R, w·(1+o)] · norm [w] · state_kv, state_score [R·(1+o), w·(1+o)]
/// A block is the tokens R·i … R·i+R−1; it is finished by its last token, so a query never sees a
/// row that holds later tokens.  When overlapping, row i pools the low channels of block i−1 (all
/// −inf scores before the first block) and the high channels of block i.  Row i is stored at
/// index i of `rows`, rotated at its first token's position R·i.
/// Requires  rope row j belongs to the j-th block finished by this call
/// Ensures   state and rows are bitwise the same however the tokens are cut into calls
/// Source    docs/model.md §5.4; model.py `Compressor`
struct CompressArgs {
  Mat<const float> kv;
  Mat<const float> score;
  std::span<const float> ape;
  std::span<const float> norm;
  Mat<float> state_kv;
  Mat<float> state_score;
  int ratio = 0;
  bool overlap = false;
  std::int64_t first_position = 0;
  // first_position in the backend's memory, for one that repeats recorded steps; null: no such step
  const std::int64_t* first_position_cell = nullptr;
  RopeTable rope;  // [n finished blocks, Dr], stride R
  CompressedKind kind = CompressedKind::kKvRow;
  KvRowFormat kv_format;        // for kKvRow
  IndexRowFormat index_format;  // for kIndexRow
  RowPool rows;
  float eps = 0;
  Rounding rounding = Rounding::kNone;

  int width() const { return static_cast<int>(kv.cols) / (overlap ? 2 : 1); }
  std::int64_t first_row() const { return first_position / ratio; }
  std::int64_t n_finished() const { return (first_position + kv.rows) / ratio - first_row(); }
};

void check(const CompressArgs& args);

}  // namespace precis
