#include "model/step.h"

#include <algorithm>

#include "base/check.h"

namespace precis {

StepTables::StepTables(const ModelConfig& config, Backend& backend, std::int64_t max_tokens)
    : backend_(backend),
      rope_dim_(config.rope_dim),
      plain_frequencies_(rope_frequencies(config.rope_dim, config.rope_theta, {})) {
  plain_angles_ = allocate(max_tokens * rope_dim_);
  any_window_ = config.n_layers_of(LayerKind::kWindow) > 0 || !config.mtp.empty();
  if (config.n_layers_of(LayerKind::kWindow) == config.n_layers()) return;

  yarn_frequencies_ = rope_frequencies(config.rope_dim, config.compress_rope_theta, config.yarn);
  yarn_angles_ = allocate(max_tokens * rope_dim_);
  for (const LayerConfig& layer : config.layers) {
    const bool known = std::any_of(ratios_.begin(), ratios_.end(),
                                   [&](const RatioTables& t) { return t.ratio == layer.ratio; });
    if (!layer.compressed() || known) continue;
    RatioTables tables;
    tables.ratio = layer.ratio;
    // Each sequence of a step brings at least one token, and finishes at most one block a token.
    tables.block_angles = allocate(max_tokens * rope_dim_);
    tables.visible = allocate(max_tokens);
    ratios_.push_back(std::move(tables));
  }
}

Buffer StepTables::allocate(std::int64_t n_words) {
  n_bytes_ += 4 * n_words;
  return backend_.allocate(static_cast<std::size_t>(4 * n_words));
}

void StepTables::upload_angles(std::span<const float> frequencies, std::int64_t first_position,
                               std::int64_t stride, std::int64_t n, const Buffer& buffer,
                               std::int64_t at_row) {
  if (n == 0) return;
  host_.resize(static_cast<std::size_t>(n * rope_dim_));
  fill_rope_table(frequencies, first_position, stride, {host_.data(), n, rope_dim_});
  backend_.copy_in(buffer.data() + 4 * at_row * rope_dim_, std::as_bytes(std::span(host_)));
}

void StepTables::prepare(std::span<const SequenceStep> sequences) {
  slices_.clear();
  n_tokens_ = 0;
  for (const SequenceStep& sequence : sequences) {
    const auto n = static_cast<std::int64_t>(sequence.tokens.size());
    slices_.push_back({sequence.cache, n_tokens_, n, sequence.cache->n_tokens()});
    n_tokens_ += n;
  }
  for (const Slice& slice : slices_) {
    if (any_window_) {
      upload_angles(plain_frequencies_, slice.first_position, 1, slice.n_tokens, plain_angles_,
                    slice.begin);
    }
    if (!ratios_.empty()) {
      upload_angles(yarn_frequencies_, slice.first_position, 1, slice.n_tokens, yarn_angles_,
                    slice.begin);
    }
  }
  std::vector<std::int32_t> visible(static_cast<std::size_t>(n_tokens_));
  for (RatioTables& tables : ratios_) {
    tables.first_block.clear();
    tables.n_blocks.clear();
    std::int64_t at = 0;
    for (const Slice& slice : slices_) {
      const std::int64_t first = slice.first_position / tables.ratio;
      const std::int64_t n = (slice.first_position + slice.n_tokens) / tables.ratio - first;
      upload_angles(yarn_frequencies_, first * tables.ratio, tables.ratio, n, tables.block_angles,
                    at);
      tables.first_block.push_back(at);
      tables.n_blocks.push_back(n);
      at += n;
      for (std::int64_t i = 0; i < slice.n_tokens; ++i) {
        visible[static_cast<std::size_t>(slice.begin + i)] =
            static_cast<std::int32_t>((slice.first_position + i + 1) / tables.ratio);
      }
    }
    backend_.copy_in(tables.visible.data(), std::as_bytes(std::span(visible)));
  }
}

const StepTables::RatioTables& StepTables::tables_of(int ratio) const {
  const auto it = std::find_if(ratios_.begin(), ratios_.end(),
                               [&](const RatioTables& t) { return t.ratio == ratio; });
  PRECIS_CHECK(it != ratios_.end());
  return *it;
}

RopeTable StepTables::token_rope(const Slice& slice, const LayerConfig& layer) const {
  const Buffer& angles = layer.yarn() ? yarn_angles_ : plain_angles_;
  return {{angles.as<float>() + slice.begin * rope_dim_, slice.n_tokens, rope_dim_},
          slice.first_position,
          1};
}

RopeTable StepTables::block_rope(const Slice& slice, const LayerConfig& layer) const {
  const RatioTables& tables = tables_of(layer.ratio);
  const auto idx = static_cast<std::size_t>(&slice - slices_.data());
  return {{tables.block_angles.as<float>() + tables.first_block[idx] * rope_dim_,
           tables.n_blocks[idx], rope_dim_},
          slice.first_position / layer.ratio * layer.ratio,
          layer.ratio};
}

std::span<const std::int32_t> StepTables::n_visible(const Slice& slice,
                                                    const LayerConfig& layer) const {
  const RatioTables& tables = tables_of(layer.ratio);
  return {tables.visible.as<std::int32_t>() + slice.begin,
          static_cast<std::size_t>(slice.n_tokens)};
}

}  // namespace precis
