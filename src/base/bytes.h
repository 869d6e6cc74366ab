// Little-endian integers in byte buffers: how every file format of this project is read and
// written.
//
// Byte by byte, so that neither alignment nor the host's byte order matters; compilers turn each
// into one load or store.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace precis {

/// Writes `value` at `out`, least significant byte first.
///
/// Requires  sizeof(T) writable bytes at `out`
/// Errors    none
template <std::unsigned_integral T>
constexpr void put_le(std::byte* out, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i) out[i] = static_cast<std::byte>(value >> (8 * i));
}

/// Reads an integer whose least significant byte stands first at `in`.
///
/// Requires  sizeof(T) readable bytes at `in`
/// Errors    none
template <std::unsigned_integral T>
constexpr T get_le(const std::byte* in) {
  T value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    value = static_cast<T>(value | static_cast<T>(std::to_integer<T>(in[i]) << (8 * i)));
  }
  return value;
}

/// The bytes of a string, without copying.
///
/// Errors    none
inline std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace precis
