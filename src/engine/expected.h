// A file of expected values: what the official implementation computes for some tokens.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "precis/status.h"

#include "checkpoint/safetensors.h"
#include "model/config.h"
#include "tensor/view.h"

namespace precis {

/// The tensors of an expected file, checked against the model's shapes when it is opened.
class Expected {
 public:
  /// Reads input_ids and the metadata entry n_prefill, and checks the shape of every tensor that a
  /// conformance run may ask for and the file has.
  ///
  /// Errors    kNotFound, kCorrupt naming the tensor, what was wanted and what was found
  static Result<Expected> open(const std::filesystem::path& path, const ModelConfig& config);

  std::int64_t n_tokens() const { return static_cast<std::int64_t>(ids_.size()); }
  std::int64_t n_prefill = 0;

  std::span<const std::int32_t> ids(std::int64_t begin, std::int64_t n) const {
    return std::span(ids_).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(n));
  }
  bool has(const std::string& name) const { return floats_.contains(name); }

  /// An F32 tensor as [first dimension, product of the others].
  ///
  /// Errors    kNotFound — the file lacks it
  Result<Mat<const float>> matrix(const std::string& name) const;
  /// An I32 tensor of two dimensions.
  Result<Mat<const std::int32_t>> integers(const std::string& name) const;

 private:
  struct Floats {
    std::vector<float> values;
    std::int64_t rows = 0;
    std::int64_t cols = 0;
  };
  struct Integers {
    std::vector<std::int32_t> values;
    std::int64_t rows = 0;
    std::int64_t cols = 0;
  };

  std::string path_;
  std::vector<std::int32_t> ids_;
  std::map<std::string, Floats> floats_;
  std::map<std::string, Integers> integers_;
};

}  // namespace precis
