// Attention of one step over packed rows: one softmax over the window and the selected rows.
#pragma once

#include <cstdint>
#include <span>

#include "ops/rope.h"
#include "ops/weight.h"
#include "tensor/view.h"

namespace precis {

/// Attends every query to its window rows and its selected compressed rows.
///
/// Shapes    q [T, H, Dk] · out [T, H, Dv], must not alias q · sink [H], empty = none
///           rope [T, Dr], no columns = values are not rotated · mass [T·G, n_mass] or empty
/// out = Σ_r exp(u_r − m)·value_r / (Σ_r exp(u_r − m) + exp(sink − m)), u = q·key_r·scale,
/// m = max u; then the last Dr channels are rotated by −position (rows carry their own rotation).
/// `key` and `value` name the channels of a row that serve as its key [Dk] and value [Dv]: all of
/// it in V4, 576 and the first 512 of them in absorbed MLA, two halves where K and V are kept.
/// Query head h reads the rows of KV head h·G / H; with G = 1 all heads share them.
/// Rounding kBf16 rounds the numerator's probabilities and the result, as the release does, for
/// queries that are bf16 numbers already.  It may round exp(u − c) for another c than the maximum
/// (the release itself takes the maximum so far): docs/numerics.md.
/// mass[t·G + g, i], where asked for, is Σ_h over the heads of KV head g of the probability of the
/// i-th selected row (i-th of `listed`, or row i where n_first is used); columns beyond get 0.
/// Token t sits at position window.step_begin + t and sees window rows max(0, p−W+1) … p.
/// Ensures   a token's result depends on its own query and rows alone; rows are added in the order
///           window (oldest first), then compressed in the order of the selection; a token with
///           no row at all gives 0
/// Cost      2·H·(Dk + Dv) flop per visible row
/// Source    docs/model.md §5.7, §5.8; model.py `sparse_attn`; docs/lineage.md for the other forms
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
  Channels key;        // count 0 = the whole row
  Channels value;      // count 0 = the whole row
  int n_kv_heads = 1;  // G, a divisor of H

  Channels key_channels() const { return key.count > 0 ? key : Channels{0, format.width()}; }
  Channels value_channels() const { return value.count > 0 ? value : Channels{0, format.width()}; }
  std::int64_t heads_per_kv_head() const { return q.planes / n_kv_heads; }

  /// The same step as the queries of KV head `head` see it: one pool, one list and one row of mass
  /// for each token.  q, out and sink stay those of all heads.
  AttendArgs of_kv_head(int head) const;
};

void check(const AttendArgs& args);

}  // namespace precis
