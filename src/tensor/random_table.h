// Bytes that are drawn, not stored: each element is one of 256 values, chosen by a counter-based
// random byte, so any part of a tensor can be made anywhere, on any device, with the same bytes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/rng.h"

namespace precis {

/// The elements that a random byte can stand for, and the stream that chooses among them.
///
/// Element i is values[b], b = byte i mod 8 (lowest first) of random_bits(key, i / 8), stored in its
/// `element_bytes` low bytes, little-endian.
struct RandomTable {
  std::uint64_t key = 0;
  int element_bytes = 1;                    // 1, 2 or 4
  std::array<std::uint32_t, 256> values{};  // an element that is to be frequent occurs often
};

/// Elements that one draw of random_bits() gives.
inline constexpr std::int64_t kElementsPerDraw = 8;

/// Writes elements `first` and after until `out` is full.
///
/// Requires  `first` is a multiple of kElementsPerDraw; `out` holds whole elements
/// Cost      about 1.7 GB a second on one thread, more for wide elements
void fill_random(const RandomTable& table, std::int64_t first, std::span<std::byte> out);

}  // namespace precis
