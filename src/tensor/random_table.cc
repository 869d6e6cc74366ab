#include "tensor/random_table.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace precis {
namespace {

template <typename T>
void fill(const RandomTable& table, std::uint64_t draw, std::span<std::byte> out) {
  std::array<T, 256> values;
  std::transform(table.values.begin(), table.values.end(), values.begin(),
                 [](std::uint32_t value) { return static_cast<T>(value); });
  constexpr auto kN = static_cast<std::size_t>(kElementsPerDraw);
  for (std::size_t at = 0; at < out.size(); at += kN * sizeof(T), ++draw) {
    const std::uint64_t bits = random_bits(table.key, draw);
    std::array<T, kN> elements;
    for (std::size_t i = 0; i < kN; ++i) elements[i] = values[bits >> (8 * i) & 255];
    std::memcpy(out.data() + at, elements.data(), std::min(sizeof elements, out.size() - at));
  }
}

}  // namespace

void fill_random(const RandomTable& table, std::int64_t first, std::span<std::byte> out) {
  PRECIS_CHECK_EQ(first % kElementsPerDraw, 0);
  PRECIS_CHECK_EQ(out.size() % static_cast<std::size_t>(table.element_bytes), 0u);
  const auto draw = static_cast<std::uint64_t>(first / kElementsPerDraw);
  switch (table.element_bytes) {
    case 1: return fill<std::uint8_t>(table, draw, out);
    case 2: return fill<std::uint16_t>(table, draw, out);
    case 4: return fill<std::uint32_t>(table, draw, out);
    default: PRECIS_CHECK(false);
  }
}

}  // namespace precis
