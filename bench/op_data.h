// Operands of the measured operations: random, valid, and owned by the case that uses them.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "ops/backend.h"

namespace precis::bench {

/// Makes operands and keeps them alive.  Values are near unit size and no code is NaN, so that
/// nothing overflows however often an operation runs again on its own results.
class OpData {
 public:
  explicit OpData(Backend& backend) : backend_(backend) {}

  const Weight* weight(WeightFormat format, std::int64_t n_out, std::int64_t n_in);

  Mat<float> mat(std::int64_t rows, std::int64_t cols);
  Cube<float> cube(std::int64_t n, std::int64_t planes, std::int64_t cols);
  std::span<const float> vector(std::int64_t n);
  std::span<std::int32_t> integers(std::int64_t n, std::int32_t value);
  /// For each of `n` rows, `count` different numbers below `below`, ascending.
  Mat<std::int32_t> choices(std::int64_t n, std::int64_t count, std::int64_t below);
  RopeTable rope(std::int64_t n, int width, std::int64_t first_position, std::int64_t stride = 1);

  /// Packed rows with random content.
  RowPool kv_rows(std::int64_t n_rows, int rows_per_page, const KvRowFormat& format);
  RowPool index_rows(std::int64_t n_rows, int rows_per_page, const IndexRowFormat& format);
  /// The ring before a step of `n_tokens` at `step_begin`, and the step's own rows.
  WindowRows window(std::int64_t step_begin, std::int64_t n_tokens, const KvRowFormat& format);

 private:
  std::span<std::byte> bytes(std::int64_t n_bytes);
  RowPool pool(std::int64_t n_rows, int rows_per_page, int data_bytes, int scale_bytes);

  Backend& backend_;
  std::uint64_t next_seed_ = 1;
  std::vector<Buffer> buffers_;
  std::deque<std::vector<std::byte*>> page_tables_;
  std::vector<std::unique_ptr<Weight>> weights_;
};

}  // namespace precis::bench
