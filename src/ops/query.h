// Per-head work between the projections and attention: queries, window rows, index queries.
#pragma once

#include <span>

#include "ops/rope.h"
#include "ops/weight.h"
#include "tensor/view.h"

namespace precis {

/// Normalises each head (no weight) and rotates its last Dr channels, in place.
///
/// Shapes    q [T, H, Dh] · rope [T, Dr]
/// The root mean square is taken in f32 and rounded once with the product; the release rounds each
/// step to bf16, which differs by at most about 0.3 % on a head.
/// Source    docs/model.md §5.2; model.py `Attention.forward`
struct QueryArgs {
  Cube<float> q;
  RopeTable rope;
  float eps = 0;
  Rounding rounding = Rounding::kNone;
};

/// Normalises, rotates, quantises and stores the step's window rows in the slots after the ring.
///
/// Shapes    kv [T, Dh] (projection output) · norm [Dh] · rope [T, Dr]
/// Token i goes to slot rows.window + i.
/// Source    docs/model.md §5.2, §8
struct WindowRowsArgs {
  Mat<const float> kv;
  std::span<const float> norm;
  RopeTable rope;
  KvRowFormat format;
  WindowRows rows;
  float eps = 0;
  Rounding rounding = Rounding::kNone;
};

/// Moves the step's last rows into the ring: position p to slot p mod W.
///
/// Units     n_tokens of the step, starting at rows.step_begin
/// Requires  every attend of the step that reads the ring is done
struct CommitWindowArgs {
  WindowRows rows;
  std::int64_t n_tokens = 0;
};

/// Rotates, Hadamard-transforms and packs the index queries as FP4 rows, token-major.
///
/// Shapes    q [T, Hi, Di] · rope [T, Dr] · out rows t·Hi + h
/// Source    docs/model.md §5.5; model.py `Indexer.forward`, `rotate_activation`
struct IndexQueryArgs {
  Cube<const float> q;
  RopeTable rope;
  IndexRowFormat format;
  RowPool out;
  Rounding rounding = Rounding::kNone;
};

void check(const QueryArgs& args);
void check(const WindowRowsArgs& args);
void check(const CommitWindowArgs& args);
void check(const IndexQueryArgs& args);

}  // namespace precis
