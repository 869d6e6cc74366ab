#include "engine/expected.h"

#include <charconv>
#include <cstring>

#include <fmt/format.h>

#include "checkpoint/safetensors.h"

namespace precis {
namespace {

using Shape = std::vector<std::int64_t>;

template <typename T>
std::vector<T> values_of(const Checkpoint& file, const TensorInfo& info) {
  const auto bytes = file.bytes(info);
  std::vector<T> out(bytes.size() / sizeof(T));
  std::memcpy(out.data(), bytes.data(), out.size() * sizeof(T));
  return out;
}

// The shapes that the model gives to the tensors a run can ask for.
std::map<std::string, Shape> wanted_shapes(const ModelConfig& c, std::int64_t n,
                                           std::int64_t n_prefill) {
  std::map<std::string, Shape> want;
  want["logits"] = {n, c.vocab_size};
  want["mtp.logits"] = {n_prefill - 1, c.vocab_size};
  for (int l = 0; l < c.n_layers(); ++l) {
    const LayerConfig& layer = c.layers[static_cast<std::size_t>(l)];
    want[fmt::format("streams.{}", l)] = {n, c.n_streams, c.hidden_size};
    want[fmt::format("attn_out.{}", l)] = {n, c.hidden_size};
    want[fmt::format("ffn_out.{}", l)] = {n, c.hidden_size};
    if (layer.compressed()) want[fmt::format("rows.{}", l)] = {n / layer.ratio, c.head_dim};
    if (layer.kind == LayerKind::kSparse) {
      want[fmt::format("index_rows.{}", l)] = {n / layer.ratio, c.index_dim};
      want[fmt::format("topk.{}", l)] = {n, -1};
    }
  }
  return want;
}

bool fits(const Shape& want, const Shape& found) {
  if (want.size() != found.size()) return false;
  for (std::size_t i = 0; i < want.size(); ++i) {
    if (want[i] >= 0 && want[i] != found[i]) return false;
  }
  return true;
}

Result<std::int64_t> read_n_prefill(const Checkpoint& file, const std::string& path,
                                    std::int64_t n_tokens) {
  const auto it = file.metadata().find("n_prefill");
  std::int64_t value = 0;
  const std::string text = it == file.metadata().end() ? "nothing" : it->second;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size() || value < 1 ||
      value > n_tokens) {
    return Error{ErrorCode::kCorrupt,
                 fmt::format("{}: metadata n_prefill: want an integer in 1 … {}, found {}", path,
                             n_tokens, text)};
  }
  return value;
}

}  // namespace

Result<Expected> Expected::open(const std::filesystem::path& path, const ModelConfig& config) {
  PRECIS_ASSIGN_OR_RETURN(const Checkpoint file, Checkpoint::open(path));
  Expected out;
  out.path_ = path.string();
  const TensorInfo* ids = file.find("input_ids");
  if (ids == nullptr || ids->dtype != DType::kI32 || ids->shape.size() != 1) {
    return Error{ErrorCode::kCorrupt,
                 fmt::format("{}: input_ids: want I32 [n], found {}", out.path_,
                             ids == nullptr ? "nothing"
                                            : fmt::format("{} {}", dtype_name(ids->dtype),
                                                          shape_text(ids->shape)))};
  }
  out.ids_ = values_of<std::int32_t>(file, *ids);
  for (const std::int32_t id : out.ids_) {
    if (id < 0 || id >= config.vocab_size) {
      return Error{ErrorCode::kCorrupt, fmt::format("{}: input_ids: want ids below {}, found {}",
                                                    out.path_, config.vocab_size, id)};
    }
  }
  PRECIS_ASSIGN_OR_RETURN(out.n_prefill, read_n_prefill(file, out.path_, out.n_tokens()));

  for (const auto& [name, shape] : wanted_shapes(config, out.n_tokens(), out.n_prefill)) {
    const TensorInfo* info = file.find(name);
    if (info == nullptr) continue;
    const DType dtype = name.starts_with("topk.") ? DType::kI32 : DType::kF32;
    if (info->dtype != dtype || !fits(shape, info->shape)) {
      return Error{
          ErrorCode::kCorrupt,
          fmt::format("{}: {}: want {} {}, found {} {}", out.path_, name, dtype_name(dtype),
                      shape_text(shape), dtype_name(info->dtype), shape_text(info->shape))};
    }
    const std::int64_t rows = info->shape[0];
    if (dtype == DType::kI32) {
      out.integers_[name] = {values_of<std::int32_t>(file, *info), rows, info->shape[1]};
    } else {
      auto values = values_of<float>(file, *info);
      const std::int64_t cols = rows == 0 ? 0 : static_cast<std::int64_t>(values.size()) / rows;
      out.floats_[name] = {std::move(values), rows, cols};
    }
  }
  return out;
}

Result<Mat<const float>> Expected::matrix(const std::string& name) const {
  const auto it = floats_.find(name);
  if (it == floats_.end()) {
    return Error{ErrorCode::kNotFound, fmt::format("{}: lacks the tensor {}", path_, name)};
  }
  return Mat<const float>(it->second.values.data(), it->second.rows, it->second.cols);
}

Result<Mat<const std::int32_t>> Expected::integers(const std::string& name) const {
  const auto it = integers_.find(name);
  if (it == integers_.end()) {
    return Error{ErrorCode::kNotFound, fmt::format("{}: lacks the tensor {}", path_, name)};
  }
  return Mat<const std::int32_t>(it->second.values.data(), it->second.rows, it->second.cols);
}

}  // namespace precis
