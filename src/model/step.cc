#include "model/step.h"

#include <algorithm>
#include <bit>

#include "base/check.h"
#include "base/integers.h"

namespace precis {
namespace {

// Beyond so many tokens a step is bound by its work and not by its launches.
constexpr std::int64_t kMaxRecordedTokens = 64;
constexpr std::uint64_t kMinVisible = 64;

}  // namespace

StepTables::StepTables(const ModelConfig& config, Backend& backend, std::int64_t max_tokens)
    : StepTables(config, &backend) {
  device_ = backend.allocate(static_cast<std::size_t>(place_longest(max_tokens)));
}

std::int64_t StepTables::n_bytes_for(const ModelConfig& config, std::int64_t max_tokens) {
  return StepTables(config, nullptr).place_longest(max_tokens);
}

StepTables::StepTables(const ModelConfig& config, Backend* backend)
    : backend_(backend), rope_dim_(config.rope_dim) {
  if (config.n_layers_of(LayerKind::kWindow) > 0 || !config.mtp.empty()) {
    plain_frequencies_ = rope_frequencies(config.rope_dim, config.rope_theta, {});
  }
  if (config.n_layers_of(LayerKind::kWindow) < config.n_layers()) {
    yarn_frequencies_ = rope_frequencies(config.rope_dim, config.compress_rope_theta, config.yarn);
  }
  for (const LayerConfig& layer : config.layers) {
    const bool known = std::any_of(ratios_.begin(), ratios_.end(),
                                   [&](const RatioTables& t) { return t.ratio == layer.ratio; });
    if (layer.compressed() && !known) ratios_.push_back({layer.ratio, 0, 0, {}});
  }
}

// Sequences of one token each take the most room.
std::int64_t StepTables::place_longest(std::int64_t max_tokens) {
  return place(std::vector<std::int64_t>(static_cast<std::size_t>(max_tokens), 1));
}

// Places every table for sequences of `lengths`; gives the bytes of all.
std::int64_t StepTables::place(std::span<const std::int64_t> lengths) {
  std::int64_t end = 0;
  const auto take = [&](std::int64_t n_bytes) {
    constexpr std::int64_t kAlignment = 16;
    const std::int64_t begin = end;
    end += round_up(n_bytes, kAlignment);
    return begin;
  };
  std::int64_t n_tokens = 0;
  for (const std::int64_t n : lengths) n_tokens += n;
  ids_at_ = take(4 * n_tokens);
  positions_at_ = take(8 * std::ssize(lengths));
  if (!plain_frequencies_.empty()) plain_at_ = take(4 * n_tokens * rope_dim_);
  if (!yarn_frequencies_.empty()) yarn_at_ = take(4 * n_tokens * rope_dim_);
  for (RatioTables& tables : ratios_) {
    std::int64_t n_blocks = 0;
    tables.first_block.clear();
    for (const std::int64_t n : lengths) {
      tables.first_block.push_back(n_blocks);
      n_blocks += ceil_div(n, tables.ratio);
    }
    tables.angles_at = take(4 * n_blocks * rope_dim_);
    tables.visible_at = take(4 * n_tokens);
  }
  return end;
}

Mat<float> StepTables::host_angles(std::int64_t offset, std::int64_t row, std::int64_t n_rows) {
  return {reinterpret_cast<float*>(host_.data() + offset) + row * rope_dim_, n_rows, rope_dim_};
}

void StepTables::prepare(std::span<const SequenceStep> sequences) {
  slices_.clear();
  n_tokens_ = 0;
  std::vector<std::int64_t> lengths;
  for (const SequenceStep& sequence : sequences) {
    const auto n = static_cast<std::int64_t>(sequence.tokens.size());
    slices_.push_back({sequence.cache, n_tokens_, n, sequence.cache->n_tokens()});
    lengths.push_back(n);
    n_tokens_ += n;
  }
  const auto n_bytes = static_cast<std::size_t>(place(lengths));
  PRECIS_CHECK_LE(n_bytes, device_.n_bytes());
  host_.resize(n_bytes);
  for (const Slice& slice : slices_) fill_slice(slice, sequences[index_of(slice)].tokens);
  backend_->copy_in(device_.data(), host_);
}

void StepTables::fill_slice(const Slice& slice, std::span<const std::int32_t> tokens) {
  const std::int64_t first = slice.first_position;
  std::copy(tokens.begin(), tokens.end(),
            reinterpret_cast<std::int32_t*>(host_.data() + ids_at_) + slice.begin);
  reinterpret_cast<std::int64_t*>(host_.data() + positions_at_)[index_of(slice)] = first;
  if (!plain_frequencies_.empty()) {
    fill_rope_table(plain_frequencies_, first, 1,
                    host_angles(plain_at_, slice.begin, slice.n_tokens));
  }
  if (!yarn_frequencies_.empty()) {
    fill_rope_table(yarn_frequencies_, first, 1,
                    host_angles(yarn_at_, slice.begin, slice.n_tokens));
  }
  for (const RatioTables& tables : ratios_) {
    const std::int64_t block = first / tables.ratio;
    const std::int64_t n_blocks = (first + slice.n_tokens) / tables.ratio - block;
    fill_rope_table(yarn_frequencies_, block * tables.ratio, tables.ratio,
                    host_angles(tables.angles_at, tables.first_block[index_of(slice)], n_blocks));
    auto* visible = reinterpret_cast<std::int32_t*>(host_.data() + tables.visible_at);
    for (std::int64_t i = 0; i < slice.n_tokens; ++i) {
      visible[slice.begin + i] = static_cast<std::int32_t>(n_visible_rows(first + i, tables.ratio));
    }
  }
}

const StepTables::RatioTables& StepTables::tables_of(int ratio) const {
  const auto it = std::find_if(ratios_.begin(), ratios_.end(),
                               [&](const RatioTables& t) { return t.ratio == ratio; });
  PRECIS_CHECK(it != ratios_.end());
  return *it;
}

RopeTable StepTables::token_rope(const Slice& slice, const LayerConfig& layer) const {
  const float* angles = at<float>(layer.yarn() ? yarn_at_ : plain_at_);
  return {{angles + slice.begin * rope_dim_, slice.n_tokens, rope_dim_}, slice.first_position, 1};
}

RopeTable StepTables::block_rope(const Slice& slice, const LayerConfig& layer) const {
  const RatioTables& tables = tables_of(layer.ratio);
  const std::int64_t block = slice.first_position / layer.ratio;
  const std::int64_t n_blocks = (slice.first_position + slice.n_tokens) / layer.ratio - block;
  return {{at<float>(tables.angles_at) + tables.first_block[index_of(slice)] * rope_dim_, n_blocks,
           rope_dim_},
          block * layer.ratio,
          layer.ratio};
}

std::span<const std::int32_t> StepTables::n_visible(const Slice& slice,
                                                    const LayerConfig& layer) const {
  return {at<std::int32_t>(tables_of(layer.ratio).visible_at) + slice.begin,
          static_cast<std::size_t>(slice.n_tokens)};
}

std::int64_t StepTables::max_visible(const Slice& slice, int ratio) const {
  const std::int64_t n = (slice.first_position + slice.n_tokens) / ratio;
  if (!worth_recording()) return n;
  return static_cast<std::int64_t>(
      std::max(kMinVisible, std::bit_ceil(static_cast<std::uint64_t>(n))));
}

std::int64_t StepTables::max_visible(const Slice& slice, const LayerConfig& layer) const {
  return max_visible(slice, layer.ratio);
}

bool StepTables::worth_recording() const {
  return n_tokens_ <= kMaxRecordedTokens;
}

void StepTables::append_key(std::vector<std::uint64_t>& key) const {
  for (const Slice& slice : slices_) {
    const auto addresses = slice.cache->addresses();
    key.insert(key.end(), addresses.begin(), addresses.end());
    key.push_back(static_cast<std::uint64_t>(slice.n_tokens));
    for (const RatioTables& tables : ratios_) {
      key.push_back(static_cast<std::uint64_t>(max_visible(slice, tables.ratio)));
    }
  }
}

}  // namespace precis
