#include "lineage/nsa.h"

#include <algorithm>
#include <numeric>

namespace precis {

std::vector<std::int32_t> choose_blocks(const NsaParams& params, std::span<const float> mass,
                                        std::int64_t position) {
  const auto n_blocks = static_cast<std::int32_t>(position / params.select_block + 1);
  const std::int64_t strides = params.select_block / params.stride;
  const std::int64_t overlap = params.block / params.stride;
  std::vector<double> scores(static_cast<std::size_t>(n_blocks));
  for (std::int32_t j = 0; j < n_blocks; ++j) {
    for (std::int64_t m = 0; m < strides; ++m) {
      for (std::int64_t n = 0; n < overlap; ++n) {
        const std::int64_t i = strides * j + m - n;
        if (i >= 0 && i < std::ssize(mass)) scores[j] += mass[i];
      }
    }
  }
  const auto is_fixed = [&](std::int32_t j) {
    return j < params.n_first_blocks || j >= n_blocks - params.n_last_blocks;
  };
  std::vector<std::int32_t> blocks(scores.size());
  std::iota(blocks.begin(), blocks.end(), 0);
  const auto n_kept = std::min<std::size_t>(blocks.size(), params.n_selected);
  std::partial_sort(blocks.begin(), blocks.begin() + n_kept, blocks.end(),
                    [&](std::int32_t a, std::int32_t b) {
                      if (is_fixed(a) != is_fixed(b)) return is_fixed(a);
                      if (scores[a] != scores[b]) return scores[a] > scores[b];
                      return a < b;
                    });
  blocks.resize(n_kept);
  std::ranges::sort(blocks);
  return blocks;
}

NsaStep::NsaStep(const NsaArgs& args) : args_(args) {
  const std::int64_t n_tokens = args.q.n;
  n_lists_ = n_tokens * args.n_kv_heads;
  n_listed_ = std::int64_t{args.params.n_selected} * args.params.select_block;
  for (std::int64_t t = 0; t < n_tokens; ++t) {
    n_blocks_.push_back(static_cast<std::int32_t>(args.params.n_blocks(position(t) + 1)));
  }
  n_mass_ = n_blocks_.empty() ? 0 : n_blocks_.back();
  mass_.resize(static_cast<std::size_t>(n_lists_ * n_mass_));
  listed_.resize(static_cast<std::size_t>(n_lists_ * n_listed_));
  const std::int64_t n_values = n_tokens * args.q.planes * args.value.count;
  for (std::vector<float>* branch : {&compressed_, &selected_, &windowed_}) {
    branch->resize(static_cast<std::size_t>(n_values));
  }
}

Mat<const std::int32_t> NsaStep::listed() const {
  return {listed_.data(), n_lists_, n_listed_};
}

AttendArgs NsaStep::branch(std::vector<float>& out) const {
  AttendArgs a;
  a.q = args_.q;
  a.format = args_.format;
  a.key = args_.key;
  a.value = args_.value;
  a.n_kv_heads = args_.n_kv_heads;
  a.scale = args_.scale;
  a.window.step_begin = args_.window.step_begin;
  a.out = {out.data(), args_.q.n, args_.q.planes, args_.value.count};
  return a;
}

void NsaStep::run(Backend& backend) {
  AttendArgs blocks = branch(compressed_);
  blocks.compressed = args_.blocks;
  blocks.selection.n_first = n_blocks_;
  blocks.mass = {mass_.data(), n_lists_, n_mass_};
  backend.attend(blocks);

  list_blocks();
  AttendArgs tokens = branch(selected_);
  tokens.compressed = args_.tokens;
  tokens.selection.listed = listed();
  backend.attend(tokens);

  AttendArgs window = branch(windowed_);
  window.window = args_.window;
  backend.attend(window);
  mix();
}

void NsaStep::list_blocks() {
  std::ranges::fill(listed_, -1);
  for (std::int64_t list = 0; list < n_lists_; ++list) {
    const std::int64_t t = list / args_.n_kv_heads;
    const std::span<const float> mass(mass_.data() + list * n_mass_,
                                      static_cast<std::size_t>(n_blocks_[t]));
    std::int32_t* out = listed_.data() + list * n_listed_;
    for (const std::int32_t block : choose_blocks(args_.params, mass, position(t))) {
      const std::int64_t begin = std::int64_t{block} * args_.params.select_block;
      const std::int64_t end = std::min(begin + args_.params.select_block, position(t) + 1);
      for (std::int64_t row = begin; row < end; ++row) *out++ = static_cast<std::int32_t>(row);
    }
  }
}

void NsaStep::mix() {
  const std::int64_t n_heads = args_.q.planes;
  for (std::int64_t t = 0; t < args_.q.n; ++t) {
    for (std::int64_t h = 0; h < n_heads; ++h) {
      const std::int64_t first = (t * n_heads + h) * args_.value.count;
      const float* gates = args_.gates.row(t) + h;
      float* out = args_.out.at(t, h);
      for (int c = 0; c < args_.value.count; ++c) {
        out[c] = gates[0] * compressed_[first + c] + gates[n_heads] * selected_[first + c] +
                 gates[2 * n_heads] * windowed_[first + c];
      }
    }
  }
}

}  // namespace precis
