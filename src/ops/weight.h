// Weight matrices as a backend holds them, and the checkpoint's view from which they are made.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/random_table.h"

namespace precis {

enum class WeightFormat : std::uint8_t {
  kF32,
  kBf16,
  kFp8Block,  // e4m3 codes, one e8m0 scale per block of block_out x block_in
  kFp4Group,  // e2m1 codes, two a byte (even k in the low nibble), one e8m0 scale per 1 x block_in
};

/// Which memory a weight is kept in.
enum class WeightPlace : std::uint8_t {
  kBackend,  // the backend's own
  kHost,     // host memory that the backend's operations can read
};

/// A matrix [n_out, n_in] as the checkpoint stores it, row-major; y = x · Wᵀ.
struct WeightSource {
  WeightFormat format = WeightFormat::kF32;
  std::int64_t n_out = 0;
  std::int64_t n_in = 0;
  const std::byte* codes = nullptr;  // [n_out, n_in] values or codes
  const std::uint8_t* scales =
      nullptr;  // [ceil(n_out/block_out), ceil(n_in/block_in)]; null if none
  int block_out = 1;
  int block_in = 1;
  WeightPlace place = WeightPlace::kBackend;
  // In place of `codes` and `scales`, where the backend draws_weights().
  const RandomTable* drawn_codes = nullptr;
  const RandomTable* drawn_scales = nullptr;

  bool quantised() const {
    return format == WeightFormat::kFp8Block || format == WeightFormat::kFp4Group;
  }
  std::size_t code_bytes() const {
    const auto n = static_cast<std::size_t>(n_out * n_in);
    switch (format) {
      case WeightFormat::kF32: return 4 * n;
      case WeightFormat::kBf16: return 2 * n;
      case WeightFormat::kFp8Block: return n;
      case WeightFormat::kFp4Group: return n / 2;
    }
    return 0;
  }
};

/// A weight matrix in one backend's own layout.  Only the backend that made it can read it.
class Weight {
 public:
  virtual ~Weight() = default;
  Weight(const Weight&) = delete;
  Weight& operator=(const Weight&) = delete;

  WeightFormat format() const { return format_; }
  std::int64_t n_out() const { return n_out_; }
  std::int64_t n_in() const { return n_in_; }

 protected:
  Weight(WeightFormat format, std::int64_t n_out, std::int64_t n_in)
      : format_(format), n_out_(n_out), n_in_(n_in) {}

 private:
  WeightFormat format_;
  std::int64_t n_out_;
  std::int64_t n_in_;
};

/// What an op's result is rounded to before it is stored.  Values between ops are always f32 words;
/// kBf16 makes each of them a bf16 number, as the release computes.
enum class Rounding : std::uint8_t { kNone, kBf16 };

/// What a product does to its input first: nothing, or the release's activation quantisation
/// (e4m3 in groups of 128 along k with a power-of-two scale, per token).
enum class InputQuant : std::uint8_t { kNone, kFp8Group128 };

}  // namespace precis
