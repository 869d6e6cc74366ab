// Groups of numbers that share one power-of-two scale: how activations and KV rows are quantised,
// and how quantised weights are read back.
//
// The rule is bit-exact (docs/model.md §4): amax in f32, floored; scale 2^⌈log2(amax · fl(1/max))⌉
// from float bits; code = round to nearest even of x / scale, saturated.  A group that holds NaN or
// infinity gets scale byte 255, so all of it decodes to NaN: a broken activation stays visible.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace precis {

inline constexpr std::size_t kActivationGroup = 128;  // in front of any FP8 or FP4 weight
inline constexpr std::size_t kKvGroup = 64;           // unrotated channels of a KV row
inline constexpr std::size_t kFp4Group = 32;          // index rows, and FP4 weights along K
inline constexpr std::size_t kFp8Block = 128;         // FP8 weights, both ways

/// The e8m0 scale byte of an e4m3 group whose largest magnitude is `amax` (floored at 1e-4).
///
/// Errors    none
std::uint8_t e4m3_group_scale(float amax);

/// The e8m0 scale byte of an e2m1 group whose largest magnitude is `amax` (floored at 6·2^-126).
///
/// Errors    none
std::uint8_t e2m1_group_scale(float amax);

/// Quantises one group to e4m3 codes and returns its e8m0 scale byte.
///
/// Shapes    x [n] f32 · codes [n] e4m3
/// Requires  codes.size() == x.size()
/// Ensures   a group of zeros gives codes 0 (signs kept) and scale byte 105
/// Errors    none
/// Source    docs/model.md §4, rows "activation" and "KV row"
std::uint8_t quantize_group_e4m3(std::span<const float> x, std::span<std::uint8_t> codes);

/// Quantises one group to packed e2m1 codes and returns its e8m0 scale byte.
///
/// Shapes    x [n] f32 · packed [n / 2] e2m1 pairs, low nibble = even index
/// Requires  x.size() even; packed.size() == x.size() / 2
/// Errors    none
/// Source    docs/model.md §4, row "index query and index key"
std::uint8_t quantize_group_e2m1(std::span<const float> x, std::span<std::uint8_t> packed);

/// Quantises a row in groups of `group` elements; a last group may be shorter.
///
/// Shapes    x [n] f32 · codes [n] e4m3 · scales [⌈n / group⌉] e8m0
/// Requires  group > 0 and the sizes above
/// Errors    none
void quantize_row_e4m3(std::span<const float> x, std::size_t group, std::span<std::uint8_t> codes,
                       std::span<std::uint8_t> scales);

/// As quantize_row_e4m3, for e2m1.
///
/// Shapes    x [n] f32 · packed [n / 2] e2m1 pairs · scales [⌈n / group⌉] e8m0
/// Requires  n and group even, group > 0 and the sizes above
/// Errors    none
void quantize_row_e2m1(std::span<const float> x, std::size_t group, std::span<std::uint8_t> packed,
                       std::span<std::uint8_t> scales);

/// Replaces each element by code · scale of its group: what storing the row and reading it back
/// gives.
///
/// Shapes    x [n] f32; a last group may be shorter
/// Requires  group > 0
/// Ensures   every finite result is a bf16 number
/// Errors    none
void fake_quantize_row_e4m3(std::span<float> x, std::size_t group);

/// As fake_quantize_row_e4m3, for e2m1.
///
/// Errors    none
void fake_quantize_row_e2m1(std::span<float> x, std::size_t group);

/// An FP8 weight as a checkpoint stores it; owns nothing.
struct Fp8Weight {
  std::span<const std::uint8_t> codes;   // [n_rows, n_cols] e4m3
  std::span<const std::uint8_t> scales;  // [⌈n_rows / 128⌉, ⌈n_cols / 128⌉] e8m0
  std::size_t n_rows;
  std::size_t n_cols;
};

/// An FP4 weight as a checkpoint stores it; owns nothing.
struct Fp4Weight {
  std::span<const std::uint8_t> packed;  // [n_rows, n_cols / 2] e2m1 pairs
  std::span<const std::uint8_t> scales;  // [n_rows, ⌈n_cols / 32⌉] e8m0
  std::size_t n_rows;
  std::size_t n_cols;  // elements, even
};

/// Reads one row of an FP8 weight as floats.
///
/// Shapes    out [n_cols] f32
/// Requires  row < n_rows and sizes as stated at Fp8Weight
/// Errors    none
void decode_row(const Fp8Weight& weight, std::size_t row, std::span<float> out);

/// Reads one row of an FP4 weight as floats.
///
/// Shapes    out [n_cols] f32
/// Requires  row < n_rows and sizes as stated at Fp4Weight
/// Errors    none
void decode_row(const Fp4Weight& weight, std::size_t row, std::span<float> out);

/// Index of the first NaN (byte 255) among e8m0 scales; nullopt when there is none.
///
/// Errors    none
/// Cost      reads scales.size() bytes
std::optional<std::size_t> find_nan_scale(std::span<const std::uint8_t> scales);

}  // namespace precis
