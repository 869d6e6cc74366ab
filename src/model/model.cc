#include "model/model.h"

#include <array>
#include <utility>

#include "base/check.h"
#include "model/attention.h"

namespace precis {

Model::Model(ModelConfig config, ModelTensors tensors, Backend& backend, Rounding rounding,
             std::int64_t max_step_tokens, const RowAblation& ablation)
    : config_(std::move(config)),
      tensors_(std::move(tensors)),
      backend_(backend),
      rounding_(rounding),
      ablation_(ablation),
      scratch_(config_, backend, max_step_tokens),
      tables_(config_, backend, max_step_tokens) {}

RopeStorage rope_storage(Rounding rounding) {
  return rounding == Rounding::kBf16 ? RopeStorage::kBf16 : RopeStorage::kF32;
}

KvSpec Model::kv_spec() const {
  return kv_spec_of(config_, config_.layers, rope_storage(rounding_));
}

KvSpec Model::mtp_kv_spec() const {
  return kv_spec_of(config_, std::span(config_.mtp).first(1), rope_storage(rounding_));
}

void Model::begin_step(std::span<const SequenceStep> sequences) {
  tables_.prepare(sequences);
  PRECIS_CHECK_LE(tables_.n_tokens(), max_step_tokens());
}

void Model::embed() {
  backend_.embed({tables_.ids(), tensors_.embed.get(), streams()});
}

void Model::run_part(Part part, std::initializer_list<std::uint64_t> arguments,
                     const std::function<void()>& body) {
  // Rows that the host chooses are copied in, and a recording has no copies.
  if (!tables_.worth_recording() || ablation_.replaces_selection()) return body();
  std::vector<std::uint64_t> key{static_cast<std::uint64_t>(part)};
  key.insert(key.end(), arguments.begin(), arguments.end());
  tables_.append_key(key);
  backend_.run_step(key, body);
}

void Model::end_step() {
  for (const StepTables::Slice& slice : tables_.slices()) slice.cache->commit(slice.n_tokens);
}

void Model::forward(std::span<const SequenceStep> sequences, const StepObserver& observer) {
  begin_step(sequences);
  const auto run = [&] {
    embed();
    for (int n = 0; n < config_.n_layers(); ++n) run_layer(n, observer);
  };
  // An observer looks at every layer as it goes by.
  observer.on_selection ? run() : run_part(Part::kLayers, {}, run);
  end_step();
}

void Model::run_layer(int layer, const StepObserver& observer, const LayerOutputs& outputs) {
  const auto n = static_cast<std::size_t>(layer);
  run_block(config_.layers[n], tensors_.layers[n], layer, observer, outputs);
}

void Model::run_block(const LayerConfig& layer, const LayerTensors& w, int kv_layer,
                      const StepObserver& observer, const LayerOutputs& outputs) {
  const std::int64_t t = tables_.n_tokens();
  const Cube<float> x_streams = streams();
  const Mat<float> x(scratch_.x.as<float>(), t, d());
  const Mat<float> y(scratch_.y.as<float>(), t, d());
  const Mat<float> post(scratch_.post.as<float>(), t, m());
  const Mat<float> comb(scratch_.comb.as<float>(), t, m() * m());
  const HyperParams hyper{config_.norm_eps, config_.hc_eps, config_.sinkhorn_iters};
  const KvRowFormat kv_format = config_.kv_format(rope_storage(rounding_));

  auto enter = [&](const HyperTensors& hc, std::span<const float> norm) {
    backend_.hyper_pre({x_streams, hc.view(), hyper, x, post, comb, rounding_});
    backend_.rms_norm({x, norm, x, config_.norm_eps, rounding_});
  };
  auto leave = [&](Mat<float> copy) {
    if (!copy.empty()) {
      backend_.copy_out(
          {reinterpret_cast<std::byte*>(copy.data), static_cast<std::size_t>(4 * t * d())},
          reinterpret_cast<const std::byte*>(y.data));
    }
    backend_.hyper_post({y, x_streams, post, comb, x_streams, rounding_});
  };

  enter(w.hc_attn, w.attn_norm);
  attention({config_, layer, w, kv_layer, tables_, scratch_, backend_, rounding_, kv_format,
             ablation_, observer},
            x, y);
  leave(outputs.attn_out);

  enter(w.hc_ffn, w.ffn_norm);
  const Mat<std::int32_t> expert_idx(scratch_.expert_idx.as<std::int32_t>(), t,
                                     config_.n_active_experts);
  const Mat<float> expert_weight(scratch_.expert_weight.as<float>(), t, config_.n_active_experts);
  backend_.route({x, w.gate.get(), w.gate_bias, w.tid2eid, tables_.ids(), config_.route_scale,
                  expert_idx, expert_weight});
  backend_.experts({x, expert_idx, expert_weight, w.expert_views, w.shared_experts.view(),
                    config_.swiglu_limit, input_quant(*w.experts.front().w1),
                    input_quant(*w.shared_experts.w1), y, rounding_});
  leave(outputs.ffn_out);
}

Mat<const float> Model::head(const HyperTensors& hc_head, std::span<const float> norm,
                             std::int64_t begin, std::int64_t n) {
  PRECIS_CHECK_LE(n, kMaxLogitRows);
  const Mat<float> x(scratch_.head_x.as<float>(), n, d());
  const Mat<float> out(scratch_.logits.as<float>(), n, config_.vocab_size);
  const HyperParams hyper{config_.norm_eps, config_.hc_eps, config_.sinkhorn_iters};
  const std::array<LinearTarget, 1> target{{{tensors_.head.get(), out}}};
  const auto run = [&] {
    backend_.hyper_head({streams().slice(begin, n), hc_head.view(), hyper, x, rounding_});
    backend_.rms_norm({x, norm, x, config_.norm_eps, rounding_});
    backend_.linear({x, target, 1, InputQuant::kNone, Rounding::kNone});
  };
  run_part(Part::kHead,
           {reinterpret_cast<std::uintptr_t>(hc_head.fn.get()), static_cast<std::uint64_t>(begin),
            static_cast<std::uint64_t>(n)},
           run);
  return out;
}

Mat<const float> Model::logits(std::int64_t begin, std::int64_t n) {
  return head(tensors_.hc_head, tensors_.norm, begin, n);
}

void Model::mtp_forward(int mtp_idx, Cube<const float> main_streams,
                        std::span<const SequenceStep> sequences) {
  const MtpTensors& w = tensors_.mtp[static_cast<std::size_t>(mtp_idx)];
  begin_step(sequences);
  const std::int64_t t = tables_.n_tokens();
  const Mat<float> embedded(scratch_.mtp_embed.as<float>(), t, d());
  const Mat<float> projected(scratch_.y.as<float>(), t, d());
  const Cube<float> normed(scratch_.mtp_streams.as<float>(), t, m(), d());
  const float eps = config_.norm_eps;

  backend_.embed({tables_.ids(), tensors_.embed.get(), {embedded.data, t, 1, d()}});
  backend_.rms_norm({embedded, w.enorm, embedded, eps, rounding_});
  backend_.rms_norm({main_streams.rows(), w.hnorm, normed.rows(), eps, rounding_});
  const std::array<LinearTarget, 1> from_embedding{{{w.e_proj.get(), projected}}};
  backend_.linear({embedded, from_embedding, 1, input_quant(*w.e_proj), rounding_});
  const std::array<LinearTarget, 1> from_streams{{{w.h_proj.get(), streams().rows()}}};
  backend_.linear({normed.rows(), from_streams, 1, input_quant(*w.h_proj), rounding_});
  backend_.add_to_streams({projected, streams(), rounding_});

  run_block(config_.mtp[static_cast<std::size_t>(mtp_idx)], w.layer, 0, {}, {});
  end_step();
}

Mat<const float> Model::mtp_logits(int mtp_idx, std::int64_t begin, std::int64_t n) {
  const MtpTensors& w = tensors_.mtp[static_cast<std::size_t>(mtp_idx)];
  return head(w.hc_head, w.norm, begin, n);
}

}  // namespace precis
