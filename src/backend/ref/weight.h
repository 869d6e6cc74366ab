// Weights of the reference backend: every format decoded to f32, which holds each value exactly.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "ops/weight.h"

namespace precis::ref {

class RefWeight final : public Weight {
 public:
  /// Decodes all of `source`.
  explicit RefWeight(const WeightSource& source);

  /// Row `n_out_idx` of the matrix, [n_in].
  std::span<const float> row(std::int64_t n_out_idx) const {
    return std::span(values_).subspan(n_out_idx * n_in(), n_in());
  }

 private:
  std::vector<float> values_;  // [n_out, n_in]
};

/// Row `row_idx` of a weight that this backend made.
std::span<const float> weight_row(const Weight* weight, std::int64_t row_idx);

}  // namespace precis::ref
