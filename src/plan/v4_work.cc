#include "plan/v4_work.h"

#include <algorithm>
#include <map>
#include <memory>
#include <tuple>
#include <vector>

#include "base/check.h"

namespace precis {
namespace {

constexpr const float* kNoInput = nullptr;
constexpr float* kNoOutput = nullptr;

// A matrix that has a shape and no content.
class ShapeOnly final : public Weight {
 public:
  ShapeOnly(WeightFormat format, std::int64_t n_out, std::int64_t n_in)
      : Weight(format, n_out, n_in) {}
};

InputQuant input_of(WeightFormat format) {
  const bool quantised = format == WeightFormat::kFp8Block || format == WeightFormat::kFp4Group;
  return quantised ? InputQuant::kFp8Group128 : InputQuant::kNone;
}

std::span<const float> no_vector(std::int64_t n) {
  return {kNoInput, static_cast<std::size_t>(n)};
}

// Collects the work of one step, an operation at a time.
class StepCounter {
 public:
  StepCounter(const ModelConfig& config, const MatrixFormats& formats, const StepShape& step)
      : c_(config), formats_(formats), step_(step), t_(step.n_sequences * step.n_tokens) {}

  Work take() { return std::move(work_); }

  void embed() {
    const ShapeOnly table(WeightFormat::kBf16, c_.vocab_size, c_.hidden_size);
    EmbedArgs args;
    args.ids = {static_cast<const std::int32_t*>(nullptr), static_cast<std::size_t>(t_)};
    args.table = &table;
    args.out = {kNoOutput, t_, c_.n_streams, c_.hidden_size};
    work_.add(Part::kEmbedding, cost(args));
  }

  void layer(const LayerConfig& layer) {
    enter();
    project(layer);
    // Per-sequence operations; equal sequences cost the same.
    Work per_sequence;
    attend_sequence(layer, per_sequence);
    work_.add(per_sequence, static_cast<double>(step_.n_sequences));
    output();
    leave();
    enter();
    experts();
    leave();
  }

  void logits() {
    const std::int64_t n = step_.n_logits;
    const ShapeOnly fn(WeightFormat::kF32, c_.n_streams, stream_width());
    HyperHeadArgs collapse;
    collapse.streams = {kNoInput, n, c_.n_streams, c_.hidden_size};
    collapse.weights.fn = &fn;
    collapse.x = {kNoOutput, n, c_.hidden_size};
    work_.add(Part::kHyper, cost(collapse));
    rms_norm(n, c_.hidden_size);
    linear(Part::kHead, n, {{c_.vocab_size, WeightFormat::kBf16}}, c_.hidden_size,
           InputQuant::kNone);
  }

 private:
  struct Output {
    std::int64_t n_out = 0;
    WeightFormat format = WeightFormat::kFp8Block;
  };

  std::int64_t stream_width() const { return std::int64_t{c_.n_streams} * c_.hidden_size; }
  std::int64_t q_width() const { return std::int64_t{c_.n_heads} * c_.head_dim; }

  // One call of `linear`: products of one input with several matrices.
  void linear(Part part, std::int64_t n_tokens, const std::vector<Output>& outputs,
              std::int64_t n_in, InputQuant input, int n_groups = 1) {
    std::vector<std::unique_ptr<ShapeOnly>> weights;
    std::vector<LinearTarget> targets;
    for (const Output& output : outputs) {
      weights.push_back(std::make_unique<ShapeOnly>(output.format, output.n_out, n_in));
      targets.push_back({weights.back().get(), {kNoOutput, n_tokens, output.n_out}});
    }
    LinearArgs args;
    args.x = {kNoInput, n_tokens, n_in * n_groups};
    args.targets = targets;
    args.n_groups = n_groups;
    args.input = input;
    work_.add(part, cost(args));
  }

  void dense(Part part, const std::vector<std::int64_t>& n_out, std::int64_t n_in) {
    std::vector<Output> outputs;
    for (const std::int64_t n : n_out) outputs.push_back({n, formats_.dense});
    linear(part, t_, outputs, n_in, input_of(formats_.dense));
  }
  void plain(Part part, const std::vector<std::int64_t>& n_out, std::int64_t n_in) {
    std::vector<Output> outputs;
    for (const std::int64_t n : n_out) outputs.push_back({n, WeightFormat::kBf16});
    linear(part, t_, outputs, n_in, InputQuant::kNone);
  }

  void rms_norm(std::int64_t n_rows, std::int64_t width) {
    RmsNormArgs args;
    args.x = {kNoInput, n_rows, width};
    args.weight = no_vector(width);
    work_.add(Part::kVectors, cost(args));
  }

  void enter() {
    const ShapeOnly fn(WeightFormat::kF32, c_.mix_dim(), stream_width());
    HyperPreArgs args;
    args.streams = {kNoInput, t_, c_.n_streams, c_.hidden_size};
    args.weights.fn = &fn;
    args.x = {kNoOutput, t_, c_.hidden_size};
    args.post = {kNoOutput, t_, c_.n_streams};
    args.comb = {kNoOutput, t_, std::int64_t{c_.n_streams} * c_.n_streams};
    work_.add(Part::kHyper, cost(args));
    rms_norm(t_, c_.hidden_size);
  }

  void leave() {
    HyperPostArgs args;
    args.f = {kNoInput, t_, c_.hidden_size};
    args.streams = {kNoInput, t_, c_.n_streams, c_.hidden_size};
    args.post = {kNoInput, t_, c_.n_streams};
    args.comb = {kNoInput, t_, std::int64_t{c_.n_streams} * c_.n_streams};
    work_.add(Part::kHyper, cost(args));
  }

  void project(const LayerConfig& layer) {
    const std::int64_t blocks = layer.overlap() ? 2 : 1;
    dense(Part::kProjections, {c_.q_lora_rank, c_.head_dim}, c_.hidden_size);
    if (layer.compressed()) {
      plain(Part::kCompressors, {blocks * c_.head_dim, blocks * c_.head_dim}, c_.hidden_size);
    }
    if (layer.kind == LayerKind::kSparse) {
      plain(Part::kIndexer, {blocks * c_.index_dim, blocks * c_.index_dim}, c_.hidden_size);
      plain(Part::kIndexer, {c_.index_heads}, c_.hidden_size);
    }
    rms_norm(t_, c_.q_lora_rank);
    dense(Part::kProjections, {q_width()}, c_.q_lora_rank);
    if (layer.kind == LayerKind::kSparse) {
      dense(Part::kIndexer, {std::int64_t{c_.index_heads} * c_.index_dim}, c_.q_lora_rank);
    }
  }

  void output() {
    const std::int64_t latent = std::int64_t{c_.o_groups} * c_.o_lora_rank;
    linear(Part::kGroupedOutput, t_, {{latent, formats_.dense}}, q_width() / c_.o_groups,
           InputQuant::kNone, c_.o_groups);
    dense(Part::kProjections, {c_.hidden_size}, latent);
  }

  void experts() {
    const std::int64_t d = c_.hidden_size;
    const std::int64_t f = c_.expert_dim;
    const ShapeOnly gate(WeightFormat::kBf16, c_.n_experts, d);
    RouteArgs route;
    route.x = {kNoInput, t_, d};
    route.gate = &gate;
    route.expert_idx = {nullptr, t_, c_.n_active_experts};
    route.weight = {kNoOutput, t_, c_.n_active_experts};
    work_.add(Part::kRouter, cost(route));

    const ShapeOnly up(formats_.expert, f, d), down(formats_.expert, d, f);
    const ShapeOnly shared_up(formats_.dense, f, d), shared_down(formats_.dense, d, f);
    const std::vector<ExpertWeights> all(static_cast<std::size_t>(c_.n_experts), {&up, &up, &down});
    ExpertsArgs args;
    args.x = {kNoInput, t_, d};
    args.expert_idx = {nullptr, t_, c_.n_active_experts};
    args.weight = {kNoInput, t_, c_.n_active_experts};
    args.experts = all;
    args.shared = {&shared_up, &shared_up, &shared_down};
    args.expert_input = input_of(formats_.expert);
    args.shared_input = input_of(formats_.dense);
    work_.add(Part::kExperts, cost(args));
  }

  RopeTable rope(std::int64_t n_rows) const {
    RopeTable table;
    table.cos_sin = {kNoInput, n_rows, c_.rope_dim};
    return table;
  }

  WindowRows window() const {
    const KvRowFormat format = c_.kv_format(RopeStorage::kBf16);
    WindowRows rows;
    rows.pool = {nullptr, c_.window, format.data_bytes(), format.scale_bytes()};
    rows.window = c_.window;
    rows.step_begin = step_.first_position;
    return rows;
  }

  // What attention() does for one sequence of the step.
  void attend_sequence(const LayerConfig& layer, Work& work) const {
    const std::int64_t n = step_.n_tokens;
    work.add(Part::kVectors, cost(QueryArgs{{kNoOutput, n, c_.n_heads, c_.head_dim}, rope(n)}));
    work.add(Part::kVectors, cost(WindowRowsArgs{{kNoInput, n, c_.head_dim},
                                                 no_vector(c_.head_dim),
                                                 rope(n),
                                                 c_.kv_format(RopeStorage::kBf16),
                                                 window()}));
    std::vector<std::int32_t> n_read;
    if (layer.compressed()) n_read = visible(layer.ratio);
    if (layer.kind == LayerKind::kSparse) {
      compress(layer, CompressedKind::kIndexRow, work);
      select(n_read, work);
      for (std::int32_t& rows : n_read) rows = std::min(rows, std::int32_t{c_.index_topk});
    }
    if (layer.compressed()) compress(layer, CompressedKind::kKvRow, work);
    attend(layer, n_read, work);
    work.add(Part::kVectors, cost(CommitWindowArgs{window(), n}));
  }

  std::vector<std::int32_t> visible(int ratio) const {
    std::vector<std::int32_t> rows(static_cast<std::size_t>(step_.n_tokens));
    for (std::int64_t t = 0; t < step_.n_tokens; ++t) {
      rows[static_cast<std::size_t>(t)] =
          static_cast<std::int32_t>((step_.first_position + t + 1) / ratio);
    }
    return rows;
  }

  void compress(const LayerConfig& layer, CompressedKind kind, Work& work) const {
    const bool index = kind == CompressedKind::kIndexRow;
    const std::int64_t blocks = layer.overlap() ? 2 : 1;
    const std::int64_t width = blocks * (index ? c_.index_dim : c_.head_dim);
    CompressArgs args;
    args.kv = args.score = {kNoInput, step_.n_tokens, width};
    args.state_kv = args.state_score = {kNoOutput, blocks * layer.ratio, width};
    args.ratio = layer.ratio;
    args.overlap = layer.overlap();
    args.first_position = step_.first_position;
    args.kind = kind;
    args.kv_format = c_.kv_format(RopeStorage::kBf16);
    args.index_format = c_.index_format();
    work.add(index ? Part::kIndexer : Part::kCompressors, cost(args));
  }

  void select(std::span<const std::int32_t> n_visible, Work& work) const {
    const std::int64_t n = step_.n_tokens;
    work.add(Part::kIndexer,
             cost(IndexQueryArgs{
                 {kNoInput, n, c_.index_heads, c_.index_dim}, rope(n), c_.index_format(), {}}));
    SelectArgs args;
    args.weights = {kNoInput, n, c_.index_heads};
    args.format = c_.index_format();
    args.n_visible = n_visible;
    args.out = {nullptr, n, c_.index_topk};
    work.add(Part::kIndexScores, cost(args));
  }

  void attend(const LayerConfig& layer, std::span<const std::int32_t> n_read, Work& work) const {
    const std::int64_t n = step_.n_tokens;
    AttendArgs args;
    args.q = {kNoInput, n, c_.n_heads, c_.head_dim};
    args.format = c_.kv_format(RopeStorage::kBf16);
    args.window = window();
    // Leading rows in place of listed ones: as many, so the products are the same.
    args.selection.n_first = n_read;
    args.rope = rope(n);
    args.out = {kNoOutput, n, c_.n_heads, c_.head_dim};
    Cost attended = cost(args);
    if (layer.kind != LayerKind::kSparse) {
      work.add(layer.compressed() ? Part::kAttentionHeavy : Part::kAttentionWindow, attended);
      return;
    }
    const std::int64_t last_visible = (step_.first_position + n) / layer.ratio;
    const std::int64_t n_distinct = std::min(last_visible, n * n_read.back());
    attended.bytes += static_cast<double>((n_distinct - n_read.back()) * args.format.row_bytes());
    attended.bytes += static_cast<double>(4 * n * c_.index_topk);  // the list itself
    work.add(Part::kAttentionSparse, attended);
  }

  const ModelConfig& c_;
  MatrixFormats formats_;
  StepShape step_;
  std::int64_t t_;
  Work work_;
};

}  // namespace

Work step_work(const ModelConfig& config, const MatrixFormats& formats, const StepShape& step) {
  PRECIS_CHECK_LE(1, step.n_sequences);
  PRECIS_CHECK_LE(1, step.n_tokens);
  std::map<std::tuple<LayerKind, int>, int> n_layers;  // layers of one kind and ratio cost the same
  for (const LayerConfig& layer : config.layers) ++n_layers[{layer.kind, layer.ratio}];

  Work work;
  for (const auto& [shape, n] : n_layers) {
    LayerConfig layer;
    std::tie(layer.kind, layer.ratio) = shape;
    StepCounter counter(config, formats, step);
    counter.layer(layer);
    work.add(counter.take(), n);
  }
  StepCounter ends(config, formats, step);
  ends.embed();
  if (step.n_logits > 0) ends.logits();
  work.add(ends.take());
  return work;
}

Work prefill_work(const ModelConfig& config, const MatrixFormats& formats, std::int64_t n_tokens,
                  std::int64_t chunk_tokens) {
  PRECIS_CHECK_LE(1, chunk_tokens);
  Work work;
  for (std::int64_t at = 0; at < n_tokens; at += chunk_tokens) {
    StepShape step;
    step.n_tokens = std::min(chunk_tokens, n_tokens - at);
    step.first_position = at;
    step.n_logits = at + step.n_tokens == n_tokens ? 1 : 0;
    work.add(step_work(config, formats, step));
  }
  return work;
}

}  // namespace precis
