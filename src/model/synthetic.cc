#include "model/synthetic.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>
#include <numeric>
#include <vector>

#include "base/bytes.h"
#include "base/file.h"
#include "base/rng.h"
#include "checkpoint/writer.h"
#include "model/tensor_table.h"
#include "tensor/bf16.h"
#include "tensor/float8.h"
#include "tensor/quant.h"

namespace precis {
namespace {

// A normal draw by Box and Muller's transform: a function of (seed, index) alone.
float normal(std::uint64_t seed, std::uint64_t index) {
  const double u = 1.0 - random_unit(seed, 2 * index);
  const double v = random_unit(seed, 2 * index + 1);
  return static_cast<float>(std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v));
}

// Mean and spread that keep activations near unit size, by what the tensor is for.
struct Distribution {
  float mean = 0;
  float spread = 1;
};

Distribution distribution_of(const TensorSpec& spec) {
  if (spec.name.ends_with("norm.weight") || spec.name.ends_with("enorm.weight") ||
      spec.name.ends_with("hnorm.weight")) {
    return {1, 0.1F};
  }
  if (spec.name.find("hc_") != std::string::npos) {
    return spec.form == TensorForm::kPlainMatrix ? Distribution{0, 0.02F} : Distribution{0, 0.5F};
  }
  if (spec.form == TensorForm::kMatrix) {
    const auto n_in = static_cast<float>(spec.name == "embed" ? 1 : spec.shape[1]);
    return {0, 1 / std::sqrt(n_in)};
  }
  return {0, 0.3F};
}

class Builder {
 public:
  Builder(const ModelConfig& config, SyntheticDtypes dtypes, std::uint64_t seed)
      : config_(config), dtypes_(dtypes), seed_(seed) {}

  void add(const TensorSpec& spec) {
    ++n_tensors_;
    if (spec.form == TensorForm::kTable) return add_table(spec);
    const std::vector<float> values = draw(spec);
    if (spec.form != TensorForm::kMatrix) {
      const bool bf16_form = spec.name.ends_with("norm.weight");
      return bf16_form ? add_bf16(spec.name, spec.shape, values) : add_f32(spec, values);
    }
    const bool kept_bf16 =
        dtypes_ == SyntheticDtypes::kBf16 || spec.group == TensorGroup::kEmbedding ||
        spec.group == TensorGroup::kHead || spec.group == TensorGroup::kRouter ||
        spec.name.find("compressor.") != std::string::npos || spec.name.ends_with("weights_proj") ||
        spec.name.find("markov") != std::string::npos ||
        spec.name.ends_with("confidence_head.proj");
    if (kept_bf16) return add_bf16(spec.weight_name(), spec.shape, values);
    if (spec.group == TensorGroup::kRoutedExperts ||
        spec.name.find(".experts.") != std::string::npos) {
      return add_fp4(spec, values);
    }
    add_fp8(spec, values);
  }

  Result<void> write(const std::filesystem::path& path) const {
    std::vector<TensorToWrite> tensors;
    for (const Stored& stored : stored_) tensors.push_back({stored.header, stored.bytes});
    return write_safetensors(path, tensors, {{"format", "pt"}});
  }

 private:
  struct Stored {
    TensorHeader header;
    std::vector<std::byte> bytes;
  };

  std::vector<float> draw(const TensorSpec& spec) const {
    const Distribution d = distribution_of(spec);
    std::vector<float> values(static_cast<std::size_t>(std::accumulate(
        spec.shape.begin(), spec.shape.end(), std::int64_t{1}, std::multiplies<>())));
    const std::uint64_t stream = random_bits(seed_, n_tensors_);
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = d.mean + d.spread * normal(stream, i);
    }
    return values;
  }

  template <typename T>
  void store(std::string name, DType dtype, std::vector<std::int64_t> shape,
             const std::vector<T>& values) {
    Stored stored{{std::move(name), dtype, std::move(shape)}, {}};
    stored.bytes.resize(values.size() * sizeof(T));
    std::memcpy(stored.bytes.data(), values.data(), stored.bytes.size());
    stored_.push_back(std::move(stored));
  }

  void add_f32(const TensorSpec& spec, const std::vector<float>& values) {
    store(spec.name, DType::kF32, spec.shape, values);
  }

  void add_bf16(const std::string& name, const std::vector<std::int64_t>& shape,
                const std::vector<float>& values) {
    std::vector<std::uint16_t> bits(values.size());
    std::transform(values.begin(), values.end(), bits.begin(),
                   [](float v) { return bf16(v).bits; });
    store(name, DType::kBf16, shape, bits);
  }

  // A different expert in each of a token's places: a random start and consecutive ones after it.
  void add_table(const TensorSpec& spec) {
    std::vector<std::int64_t> experts;
    for (std::int64_t token = 0; token < spec.shape[0]; ++token) {
      const std::uint64_t first =
          random_bits(random_bits(seed_, n_tensors_), static_cast<std::uint64_t>(token));
      for (std::int64_t a = 0; a < spec.shape[1]; ++a) {
        experts.push_back(static_cast<std::int64_t>((first + static_cast<std::uint64_t>(a)) %
                                                    static_cast<std::uint64_t>(config_.n_experts)));
      }
    }
    store(spec.name, DType::kI64, spec.shape, experts);
  }

  void add_fp4(const TensorSpec& spec, const std::vector<float>& values) {
    const auto n_in = static_cast<std::size_t>(spec.shape[1]);
    const std::size_t n_groups = (n_in + kFp4Group - 1) / kFp4Group;
    std::vector<std::uint8_t> codes(values.size() / 2);
    std::vector<std::uint8_t> scales(static_cast<std::size_t>(spec.shape[0]) * n_groups);
    for (std::size_t row = 0; row < static_cast<std::size_t>(spec.shape[0]); ++row) {
      quantize_row_e2m1(std::span(values).subspan(row * n_in, n_in), kFp4Group,
                        std::span(codes).subspan(row * n_in / 2, n_in / 2),
                        std::span(scales).subspan(row * n_groups, n_groups));
    }
    store(spec.weight_name(), DType::kI8, {spec.shape[0], spec.shape[1] / 2}, codes);
    store(spec.scale_name(), DType::kF8E8M0, {spec.shape[0], static_cast<std::int64_t>(n_groups)},
          scales);
  }

  void add_fp8(const TensorSpec& spec, const std::vector<float>& values) {
    const std::int64_t n_out = spec.shape[0];
    const std::int64_t n_in = spec.shape[1];
    const std::int64_t block_out = config_.weight_block_out;
    const std::int64_t block_in = config_.weight_block_in;
    const std::int64_t rows = (n_out + block_out - 1) / block_out;
    const std::int64_t cols = (n_in + block_in - 1) / block_in;
    std::vector<std::uint8_t> codes(values.size());
    std::vector<std::uint8_t> scales;
    for (std::int64_t block = 0; block < rows * cols; ++block) {
      const std::int64_t out_begin = block / cols * block_out;
      const std::int64_t in_begin = block % cols * block_in;
      const std::int64_t out_end = std::min(out_begin + block_out, n_out);
      const std::int64_t in_end = std::min(in_begin + block_in, n_in);
      float amax = 0;
      for (std::int64_t o = out_begin; o < out_end; ++o) {
        for (std::int64_t i = in_begin; i < in_end; ++i) {
          amax = std::max(amax, std::abs(values[static_cast<std::size_t>(o * n_in + i)]));
        }
      }
      scales.push_back(e4m3_group_scale(amax));
      const float scale = decode_e8m0(scales.back());
      for (std::int64_t o = out_begin; o < out_end; ++o) {
        for (std::int64_t i = in_begin; i < in_end; ++i) {
          const auto at = static_cast<std::size_t>(o * n_in + i);
          codes[at] = encode_e4m3(values[at] / scale);
        }
      }
    }
    store(spec.weight_name(), DType::kF8E4M3, spec.shape, codes);
    store(spec.scale_name(), DType::kF8E8M0, {rows, cols}, scales);
  }

  const ModelConfig& config_;
  SyntheticDtypes dtypes_;
  std::uint64_t seed_;
  std::uint64_t n_tensors_ = 0;
  std::vector<Stored> stored_;
};

Result<void> write_text(const std::filesystem::path& path, std::string_view text) {
  PRECIS_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(path));
  PRECIS_TRY(file.write(as_bytes(text)));
  return file.commit();
}

}  // namespace

Result<void> write_synthetic(const std::filesystem::path& dir, const std::string& config_json,
                             SyntheticDtypes dtypes, std::uint64_t seed) {
  PRECIS_ASSIGN_OR_RETURN(const ModelConfig config, parse_config(config_json, "config"));
  std::error_code ec;
  std::filesystem::create_directories(dir, ec);
  if (ec) return Error{ErrorCode::kIo, dir.string() + ": " + ec.message()};
  Builder builder(config, dtypes, seed);
  for (const TensorSpec& spec : expected_tensors(config)) builder.add(spec);
  PRECIS_TRY(builder.write(dir / "model.safetensors"));
  return write_text(dir / "config.json", config_json);
}

}  // namespace precis
