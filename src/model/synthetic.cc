#include "model/synthetic.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/integers.h"
#include "base/rng.h"
#include "model/tensor_table.h"
#include "tensor/bf16.h"
#include "tensor/float4.h"
#include "tensor/float8.h"
#include "tensor/quant.h"
#include "xxhash.h"

namespace precis {
namespace {

using Values = std::array<std::uint32_t, 256>;

// Mean and spread that keep activations near unit size, by what the tensor is for.
struct Distribution {
  double mean = 0;
  double spread = 1;
};

Distribution distribution_of(const TensorSpec& spec) {
  if (spec.name.ends_with("norm.weight")) return {1, 0.1};
  if (spec.name.find("hc_") != std::string::npos) {
    return spec.form == TensorForm::kPlainMatrix ? Distribution{0, 0.02} : Distribution{0, 0.5};
  }
  if (spec.form != TensorForm::kMatrix) return {0, 0.3};
  if (spec.group == TensorGroup::kEmbedding) return {0, 1};
  return {0, 1 / std::sqrt(static_cast<double>(spec.shape[1]))};
}

// How the release stores a tensor.
DType dtype_of(const TensorSpec& spec, SyntheticDtypes dtypes) {
  switch (spec.form) {
    case TensorForm::kTable: return DType::kI64;
    case TensorForm::kPlainMatrix: return DType::kF32;
    case TensorForm::kVector:
      return spec.name.ends_with("norm.weight") ? DType::kBf16 : DType::kF32;
    case TensorForm::kMatrix: break;
  }
  const auto has = [&](const char* part) { return spec.name.find(part) != std::string::npos; };
  const bool plain = spec.group == TensorGroup::kEmbedding || spec.group == TensorGroup::kHead ||
                     spec.group == TensorGroup::kRouter || has("compressor.") ||
                     has("weights_proj") || has("markov_head") || has("confidence_head");
  if (plain || dtypes == SyntheticDtypes::kBf16) return DType::kBf16;
  return has(".experts.") ? DType::kI8 : DType::kF8E4M3;
}

// The value below which a share p of the standard normal distribution lies.
double normal_quantile(double p) {
  double low = -8;
  double high = 8;
  for (int i = 0; i < 60; ++i) {
    const double middle = (low + high) / 2;
    (std::erfc(-middle / std::sqrt(2.0)) / 2 < p ? low : high) = middle;
  }
  return (low + high) / 2;
}

// `n` values that are equally likely under a normal distribution.
std::vector<double> normal_levels(int n, const Distribution& d) {
  std::vector<double> levels;
  for (int i = 0; i < n; ++i) {
    levels.push_back(d.mean + d.spread * normal_quantile((i + 0.5) / n));
  }
  return levels;
}

// Scales of a quantised matrix are one of three neighbouring powers of two; kScaleRms is the root
// mean square of ½, 1, 1 and 2.
constexpr double kScaleRms = 1.25;

// The exponent whose scale turns codes of spread near `code_spread` (up to twice that) into weights
// of spread `spread`.
int scale_exponent(double spread, double code_spread) {
  return static_cast<int>(std::floor(std::log2(spread / kScaleRms / code_spread)));
}

Values scale_values(int exponent) {
  constexpr int kBias = 127;
  Values values;
  for (int i = 0; i < 256; ++i) {
    const int step = i < 64 ? -1 : i < 192 ? 0 : 1;
    values[static_cast<std::size_t>(i)] = static_cast<std::uint32_t>(kBias + exponent + step);
  }
  return values;
}

// Codes of spread 64 to 128 reach 370 of the 448 that e4m3 has, those of 1.5 to 3 reach all of e2m1.
constexpr double kE4m3Spread = 64;
constexpr double kE2m1Spread = 1.5;

double code_spread(double spread, double wanted) {
  return spread / kScaleRms / std::exp2(scale_exponent(spread, wanted));
}

Values code_values(DType dtype, const Distribution& d) {
  Values values;
  if (dtype == DType::kI8) {
    const std::vector<double> levels = normal_levels(16, {0, code_spread(d.spread, kE2m1Spread)});
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = pack_e2m1(encode_e2m1(static_cast<float>(levels[i % 16])),
                            encode_e2m1(static_cast<float>(levels[i / 16])));
    }
    return values;
  }
  const bool quantised = dtype == DType::kF8E4M3;
  const std::vector<double> levels =
      normal_levels(256, quantised ? Distribution{0, code_spread(d.spread, kE4m3Spread)} : d);
  std::transform(levels.begin(), levels.end(), values.begin(), [&](double level) -> std::uint32_t {
    const auto value = static_cast<float>(level);
    if (quantised) return encode_e4m3(value);
    return dtype == DType::kBf16 ? bf16(value).bits : std::bit_cast<std::uint32_t>(value);
  });
  return values;
}

}  // namespace

struct SyntheticTensors::Entry {
  TensorInfo info;
  const Values* values;
};

SyntheticTensors::SyntheticTensors(const ModelConfig& config, SyntheticDtypes dtypes,
                                   std::uint64_t seed, ThreadPool* threads)
    : seed_(seed), threads_(threads), n_experts_(static_cast<std::uint64_t>(config.n_experts)) {
  std::vector<Entry> entries;
  const auto add = [&](std::string name, DType dtype, std::vector<std::int64_t> shape,
                       const Values* values) {
    const std::int64_t n =
        std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
    const std::uint64_t n_bytes = storage_bytes(dtype, static_cast<std::uint64_t>(n));
    entries.push_back({{std::move(name), dtype, std::move(shape), 0, 0, n_bytes}, values});
  };
  // Quantiles cost more than a lookup, and thousands of experts have the same spread.
  std::map<std::pair<DType, double>, const Values*> known;
  const auto table = [&](DType dtype, double spread, const auto& make) {
    const Values*& values = known[{dtype, spread}];
    if (values == nullptr) values = &*values_.insert(make()).first;
    return values;
  };
  for (const TensorSpec& spec : expected_tensors(config)) {
    const DType dtype = dtype_of(spec, dtypes);
    if (dtype == DType::kI64) {
      add(spec.name, dtype, spec.shape, nullptr);
      continue;
    }
    const Distribution d = distribution_of(spec);
    const Values* codes = table(dtype, d.spread, [&] { return code_values(dtype, d); });
    std::vector<std::int64_t> shape = spec.shape;
    if (dtype == DType::kI8) shape[1] /= 2;
    add(spec.weight_name(), dtype, shape, codes);
    if (dtype != DType::kI8 && dtype != DType::kF8E4M3) continue;
    const bool fp4 = dtype == DType::kI8;
    const int exponent = scale_exponent(d.spread, fp4 ? kE2m1Spread : kE4m3Spread);
    add(spec.scale_name(), DType::kF8E8M0,
        fp4 ? std::vector{spec.shape[0],
                          ceil_div(spec.shape[1], static_cast<std::int64_t>(kFp4Group))}
            : std::vector{ceil_div(spec.shape[0], config.weight_block_out),
                          ceil_div(spec.shape[1], config.weight_block_in)},
        table(DType::kF8E8M0, exponent, [&] { return scale_values(exponent); }));
  }
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.info.name < b.info.name; });
  for (Entry& entry : entries) {
    infos_.push_back(std::move(entry.info));
    of_info_.push_back(entry.values);
  }
}

const SyntheticTensors::Values* SyntheticTensors::values_of(const TensorInfo& tensor) const {
  const std::ptrdiff_t idx = &tensor - infos_.data();
  PRECIS_CHECK(idx >= 0 && idx < std::ssize(infos_));
  return of_info_[static_cast<std::size_t>(idx)];
}

std::uint64_t SyntheticTensors::key_of(const TensorInfo& tensor) const {
  std::uint64_t hash = XXH3_64bits_withSeed(tensor.name.data(), tensor.name.size(), seed_);
  for (const std::int64_t dim : tensor.shape) {
    hash = random_bits(hash, static_cast<std::uint64_t>(dim));
  }
  return hash;
}

std::optional<RandomTable> SyntheticTensors::random_table(const TensorInfo& tensor) const {
  const Values* values = values_of(tensor);
  if (values == nullptr) return std::nullopt;
  return RandomTable{key_of(tensor), bits_per_element(tensor.dtype) / 8, *values};
}

// A different expert in each of a token's places: a random start and consecutive ones after it.
void SyntheticTensors::fill_experts(const TensorInfo& tensor, std::uint64_t begin,
                                    std::span<std::byte> out) const {
  const auto n_places = static_cast<std::uint64_t>(tensor.shape[1]);
  const std::uint64_t key = key_of(tensor);
  for (std::size_t at = 0; at < out.size(); at += 8) {
    const std::uint64_t i = (begin + at) / 8;
    const std::uint64_t first = random_bits(key, i / n_places) % n_experts_;
    std::array<std::byte, 8> element;
    put_le<std::uint64_t>(element.data(), (first + i % n_places) % n_experts_);
    std::memcpy(out.data() + at, element.data(), std::min(element.size(), out.size() - at));
  }
}

void SyntheticTensors::fill(const TensorInfo& tensor, std::uint64_t begin,
                            std::span<std::byte> out) const {
  const std::optional<RandomTable> table = random_table(tensor);
  if (!table) return fill_experts(tensor, begin, out);
  fill_random(*table, static_cast<std::int64_t>(begin) / table->element_bytes, out);
}

void SyntheticTensors::read_part(const TensorInfo& tensor, std::uint64_t begin,
                                 std::span<std::byte> out) const {
  PRECIS_CHECK_EQ(begin % 64, 0u);
  PRECIS_CHECK_LE(begin + out.size(), tensor.n_bytes);
  constexpr std::int64_t kGrain = 1 << 20;  // a multiple of 64
  const auto n = static_cast<std::int64_t>(out.size());
  if (threads_ == nullptr || n <= kGrain) return fill(tensor, begin, out);
  threads_->parallel_for(n, kGrain, [&](std::int64_t from, std::int64_t to, int) {
    fill(tensor, begin + static_cast<std::uint64_t>(from),
         out.subspan(static_cast<std::size_t>(from), static_cast<std::size_t>(to - from)));
  });
}

TensorBytes SyntheticTensors::read(const TensorInfo& tensor, std::uint64_t n_bytes) const {
  const std::uint64_t n = std::min(n_bytes, tensor.n_bytes);
  auto bytes = std::make_unique_for_overwrite<std::byte[]>(n);
  read_part(tensor, 0, {bytes.get(), n});
  return {std::move(bytes), n};
}

std::uint64_t SyntheticTensors::payload_bytes() const {
  return std::accumulate(
      infos_.begin(), infos_.end(), std::uint64_t{0},
      [](std::uint64_t sum, const TensorInfo& tensor) { return sum + tensor.n_bytes; });
}

}  // namespace precis
