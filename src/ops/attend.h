// Attention of one step over packed rows: one softmax over the window and the selected rows.
#pragma once

#include <cstdint>
#include <span>

#include "ops/rope.h"
#include "ops/weight.h"
#include "tensor/view.h"

namespace precis {

/// Attends every query to its window rows and its selected compressed rows; K = V = the row.
///
/// Shapes    q, out [T, H, Dh] (out must not alias q) · sink [H], empty = none · rope [T, Dr]
///           mass [T, n_mass] or empty
/// out = Σ_r exp(u_r − m)·row_r / (Σ_r exp(u_r − m) + exp(sink − m)), u = q·row·scale, m = max u;
/// then the last Dr channels are rotated by −position (rows carry their own rotation).
/// Rounding kBf16 rounds the numerator's probabilities and the result, as the release does.
/// mass[t, i], where asked for, is Σ_h of the probability of the i-th selected compressed row
/// (i-th of `listed`, or row i where n_first is used); columns beyond the selection get 0.
/// Token t sits at position window.step_begin + t and sees window rows max(0, p−W+1) … p.
/// Ensures   a token's result depends on its own query and rows alone; rows are added in the order
///           window (oldest first), then compressed in the order of the selection; a token with
///           no row at all gives 0
/// Cost      4·H·Dh flop per visible row
/// Source    docs/model.md §5.7, §5.8; model.py `sparse_attn`
struct AttendArgs {
  Cube<const float> q;
  KvRowFormat format;
  WindowRows window;
  RowPool compressed;
  RowSelection selection;
  std::span<const float> sink;
  float scale = 0;
  RopeTable rope;
  Cube<float> out;
  Mat<float> mass;
  Rounding rounding = Rounding::kNone;
};

void check(const AttendArgs& args);

}  // namespace precis
