#include "model/attention.h"

#include <array>
#include <cmath>
#include <initializer_list>
#include <span>
#include <vector>

#include "base/check.h"

namespace precis {
namespace {

using Slice = StepTables::Slice;

Mat<float> rows_of(const Buffer& buffer, std::int64_t n_rows, std::int64_t n_cols) {
  return {buffer.as<float>(), n_rows, n_cols};
}

// The projections of every token: latent query, queries, raw KV row, compressor inputs.
class Projections {
 public:
  Projections(const AttentionContext& c, std::int64_t t) : c_(c) {
    const ModelConfig& m = c.config;
    const std::int64_t blocks = c.layer.overlap() ? 2 : 1;
    q_latent = rows_of(c.scratch.q_latent, t, m.q_lora_rank);
    q = rows_of(c.scratch.q, t, std::int64_t{m.n_heads} * m.head_dim);
    kv = rows_of(c.scratch.kv, t, m.head_dim);
    if (c.layer.compressed()) {
      compress_kv = rows_of(c.scratch.compress_kv, t, m.head_dim * blocks);
      compress_score = rows_of(c.scratch.compress_score, t, m.head_dim * blocks);
    }
    if (sparse()) {
      index_kv = rows_of(c.scratch.index_kv, t, m.index_dim * blocks);
      index_score = rows_of(c.scratch.index_score, t, m.index_dim * blocks);
      index_q = rows_of(c.scratch.index_q, t, std::int64_t{m.index_heads} * m.index_dim);
      index_weight = rows_of(c.scratch.index_weight, t, m.index_heads);
    }
  }

  void run(Mat<const float> x) const {
    const LayerTensors& w = c_.w;
    project(x, {{w.wq_a.get(), q_latent}, {w.wkv.get(), kv}}, c_.rounding);
    if (c_.layer.compressed()) {
      // The compressor works on FP32 results of BF16 operands (docs/model.md §4 "Products").
      project(x,
              {{w.compressor.wkv.get(), compress_kv}, {w.compressor.wgate.get(), compress_score}},
              Rounding::kNone);
    }
    if (sparse()) {
      const CompressorTensors& ic = w.indexer_compressor;
      project(x, {{ic.wkv.get(), index_kv}, {ic.wgate.get(), index_score}}, Rounding::kNone);
      project(x, {{w.indexer_weights_proj.get(), index_weight}}, c_.rounding);
    }
    c_.backend.rms_norm({q_latent, w.q_norm, q_latent, c_.config.norm_eps, c_.rounding});
    project(q_latent, {{w.wq_b.get(), q}}, c_.rounding);
    if (sparse()) project(q_latent, {{w.indexer_wq_b.get(), index_q}}, c_.rounding);
  }

  Mat<float> q_latent, q, kv, compress_kv, compress_score;
  Mat<float> index_kv, index_score, index_q, index_weight;

 private:
  bool sparse() const { return c_.layer.kind == LayerKind::kSparse; }

  void project(Mat<const float> x, std::initializer_list<LinearTarget> targets,
               Rounding rounding) const {
    LinearArgs args;
    args.x = x;
    args.targets = {targets.begin(), targets.size()};
    args.input = input_quant(*targets.begin()->weight);
    args.rounding = rounding;
    c_.backend.linear(args);
  }

  const AttentionContext& c_;
};

Cube<float> heads(Mat<float> rows, int n_heads) {
  return {rows.data, rows.rows, n_heads, rows.cols / n_heads};
}

void compress(const AttentionContext& c, const Slice& s, const CompressorTensors& w,
              CompressedKind kind, Mat<const float> kv, Mat<const float> score) {
  const bool index = kind == CompressedKind::kIndexRow;
  const CompressorState state =
      index ? s.cache->index_state(c.kv_layer) : s.cache->state(c.kv_layer);
  CompressArgs args;
  args.kv = kv.slice_rows(s.begin, s.n_tokens);
  args.score = score.slice_rows(s.begin, s.n_tokens);
  args.ape = w.ape;
  args.norm = w.norm;
  args.state_kv = state.kv;
  args.state_score = state.score;
  args.ratio = c.layer.ratio;
  args.overlap = c.layer.overlap();
  args.first_position = s.first_position;
  args.first_position_cell = c.tables.first_position_cell(s);
  args.rope = c.tables.block_rope(s, c.layer);
  args.kind = kind;
  args.kv_format = c.kv_format;
  args.index_format = c.config.index_format();
  args.rows = index ? s.cache->index_rows(c.kv_layer) : s.cache->rows(c.kv_layer);
  args.eps = c.config.norm_eps;
  args.rounding = c.rounding;
  c.backend.compress(args);
}

// The indexer's question: which compressed rows each token of the slice reads.
SelectArgs select_args(const AttentionContext& c, const Slice& s, const Projections& p) {
  const ModelConfig& m = c.config;
  const IndexRowFormat format = m.index_format();
  const RowPool queries{c.scratch.index_q_table.as<std::byte*>() + s.begin, m.index_heads,
                        format.data_bytes(), format.scale_bytes()};
  c.backend.index_query({heads(p.index_q, m.index_heads).slice(s.begin, s.n_tokens),
                         c.tables.token_rope(s, c.layer), format, queries, c.rounding});
  SelectArgs args;
  args.queries = queries;
  args.weights = p.index_weight.slice_rows(s.begin, s.n_tokens);
  args.weight_scale =
      1.0F / std::sqrt(static_cast<float>(m.index_dim) * static_cast<float>(m.index_heads));
  args.keys = s.cache->index_rows(c.kv_layer);
  args.format = format;
  args.n_visible = c.tables.n_visible(s, c.layer);
  args.out =
      Mat<std::int32_t>(c.scratch.selected.as<std::int32_t>(), c.tables.n_tokens(), m.index_topk)
          .slice_rows(s.begin, s.n_tokens);
  args.rounding = c.rounding;
  return args;
}

WindowRows window_rows(const AttentionContext& c, const Slice& s) {
  WindowRows rows = s.cache->window(c.kv_layer);
  rows.step_begin_cell = c.tables.first_position_cell(s);
  return rows;
}

AttendArgs attend_args(const AttentionContext& c, const Slice& s, const Projections& p,
                       const RowSelection& selection) {
  const ModelConfig& m = c.config;
  AttendArgs args;
  args.q = heads(p.q, m.n_heads).slice(s.begin, s.n_tokens);
  args.format = c.kv_format;
  args.window = window_rows(c, s);
  if (c.layer.compressed()) args.compressed = s.cache->rows(c.kv_layer);
  args.selection = selection;
  args.sink = c.w.attn_sink;
  args.scale = 1.0F / std::sqrt(static_cast<float>(m.head_dim));
  args.rope = c.tables.token_rope(s, c.layer);
  args.out = Cube<float>(c.scratch.attended.as<float>(), c.tables.n_tokens(), m.n_heads, m.head_dim)
                 .slice(s.begin, s.n_tokens);
  if (c.observer.want_mass && !selection.listed.empty()) {
    args.mass =
        rows_of(c.scratch.mass, c.tables.n_tokens(), m.index_topk).slice_rows(s.begin, s.n_tokens);
  }
  args.rounding = c.rounding;
  return args;
}

// Which compressed rows the slice's tokens read.  What they ask the indexer goes to `scoring`; its
// answer comes later.
RowSelection select_rows(const AttentionContext& c, const Slice& s, const Projections& p,
                         std::vector<SelectArgs>& scoring) {
  RowSelection selection;
  if (!c.ablation.reads_compressed(c.layer.kind)) return selection;
  if (c.ablation.reads_all(c.layer.kind)) {
    selection.n_first = c.tables.n_visible(s, c.layer);
    selection.max_first = c.tables.max_visible(s, c.layer);
    return selection;
  }
  scoring.push_back(select_args(c, s, p));
  selection.listed = scoring.back().out;
  return selection;
}

// Writes other rows where the indexer's would stand.
void replace_selection(const AttentionContext& c, const Slice& s, Mat<std::int32_t> selected) {
  PRECIS_CHECK_EQ(selected.stride, selected.cols);
  std::vector<std::int32_t> host(static_cast<std::size_t>(selected.rows * selected.cols));
  const Mat<std::int32_t> rows(host.data(), selected.rows, selected.cols);
  for (std::int64_t t = 0; t < s.n_tokens; ++t) {
    const std::int64_t position = s.first_position + t;
    replacement_rows(c.ablation, c.kv_layer, position, n_visible_rows(position, c.layer.ratio),
                     rows.row_span(t));
  }
  c.backend.copy_in(reinterpret_cast<std::byte*>(selected.data), std::as_bytes(std::span(host)));
}

// Stores the slice's rows, before its tokens read: a block that ends at a token is visible to it.
RowSelection store_rows(const AttentionContext& c, const Slice& s, const Projections& p,
                        std::vector<SelectArgs>& scoring) {
  const RopeTable rope = c.tables.token_rope(s, c.layer);
  c.backend.query({heads(p.q, c.config.n_heads).slice(s.begin, s.n_tokens), rope, c.config.norm_eps,
                   c.rounding});
  c.backend.window_rows({p.kv.slice_rows(s.begin, s.n_tokens), c.w.kv_norm, rope, c.kv_format,
                         window_rows(c, s), c.config.norm_eps, c.rounding});
  if (c.layer.kind == LayerKind::kSparse) {
    compress(c, s, c.w.indexer_compressor, CompressedKind::kIndexRow, p.index_kv, p.index_score);
  }
  const RowSelection selection = select_rows(c, s, p, scoring);
  if (c.layer.compressed()) {
    compress(c, s, c.w.compressor, CompressedKind::kKvRow, p.compress_kv, p.compress_score);
  }
  return selection;
}

// Some slices, all of which select and attend at once.  An observer sees the last one's scores.
void attend_slices(const AttentionContext& c, std::span<const Slice> slices, const Projections& p) {
  std::vector<AttendArgs> all;
  all.reserve(slices.size());
  std::vector<SelectArgs> scoring;
  for (const Slice& s : slices) all.push_back(attend_args(c, s, p, store_rows(c, s, p, scoring)));
  if (c.ablation.replaces_selection()) {
    for (std::size_t i = 0; i < scoring.size(); ++i) {
      replace_selection(c, slices[i], scoring[i].out);
    }
  } else if (!scoring.empty()) {
    c.backend.select_all(scoring);
  }
  c.backend.attend_all(all);
  const AttendArgs& last = all.back();
  if (c.observer.on_selection && !last.selection.listed.empty()) {
    const auto idx = static_cast<std::size_t>(&slices.back() - c.tables.slices().data());
    c.observer.on_selection({c.kv_layer, idx, last.selection.listed, last.mass, &scoring.back()});
  }
  for (const Slice& s : slices) c.backend.commit_window({window_rows(c, s), s.n_tokens});
}

}  // namespace

void attention(const AttentionContext& c, Mat<const float> x, Mat<float> y) {
  const Projections projections(c, x.rows);
  projections.run(x);
  const std::span<const Slice> slices = c.tables.slices();
  const std::size_t at_once = c.observer.on_selection ? 1 : slices.size();
  for (std::size_t i = 0; i < slices.size(); i += at_once) {
    attend_slices(c, slices.subspan(i, at_once), projections);
  }

  const ModelConfig& m = c.config;
  const Mat<float> attended =
      rows_of(c.scratch.attended, x.rows, std::int64_t{m.n_heads} * m.head_dim);
  const Mat<float> latent =
      rows_of(c.scratch.o_latent, x.rows, std::int64_t{m.o_groups} * m.o_lora_rank);
  // wo_a is FP8 in the file, but its input is not quantised (docs/model.md §4).
  const std::array<LinearTarget, 1> to_latent{{{c.w.wo_a.get(), latent}}};
  c.backend.linear({attended, to_latent, m.o_groups, InputQuant::kNone, c.rounding});
  const std::array<LinearTarget, 1> to_model{{{c.w.wo_b.get(), y}}};
  c.backend.linear({latent, to_model, 1, input_quant(*c.w.wo_b), c.rounding});
}

}  // namespace precis
