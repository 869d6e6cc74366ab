// The element types a checkpoint may hold: their widths and their names in safetensors.
//
// Two types share bytes in the release: packed FP4 experts are stored as I8, two codes a byte. What
// a tensor means is decided by who asks for it (model/weights); this file only knows widths.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace precis {

enum class DType : std::uint8_t {
  kBf16,
  kF16,
  kF32,
  kF64,
  kF8E4M3,  // 3 mantissa bits, largest value 448, no infinity
  kF8E5M2,
  kF8E8M0,  // power-of-two scale 2^(b - 127), 255 = NaN
  kF4E2M1,  // two codes a byte; a shape counts elements, not bytes
  kI8,
  kU8,
  kI16,
  kU16,
  kI32,
  kU32,
  kI64,
  kU64,
  kBool,
};

inline constexpr int kDTypeCount = 17;

/// Width of one element in bits; 4 for kF4E2M1, a multiple of 8 for all others.
///
/// Errors    none
int bits_per_element(DType dtype);

/// Bytes that `n_elements` elements occupy, a last half byte rounded up.
///
/// Requires  n_elements · bits_per_element(dtype) fits 64 bits
/// Errors    none
std::uint64_t storage_bytes(DType dtype, std::uint64_t n_elements);

/// The type's name in a safetensors header: "BF16", "F8_E4M3", "I8", …
///
/// Errors    none
std::string_view dtype_name(DType dtype);

/// The type that a safetensors header calls `name`; nullopt for a name this build does not know.
///
/// Errors    none
std::optional<DType> dtype_from_name(std::string_view name);

}  // namespace precis
