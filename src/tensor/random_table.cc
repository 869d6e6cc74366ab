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
  const std::uint64_t key = table.key;
  const auto elements = [&](std::uint64_t bits) -> std::array<T, kElementsPerDraw> {
    const auto at = [&](int i) { return values[bits >> (8 * i) & 255]; };
    return {at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7)};
  };
  constexpr std::size_t kDrawBytes = kElementsPerDraw * sizeof(T);
  while (out.size() >= kDrawBytes) {
    const auto drawn = elements(random_bits(key, draw++));
    std::memcpy(out.data(), drawn.data(), kDrawBytes);
    out = out.subspan(kDrawBytes);
  }
  const auto drawn = elements(random_bits(key, draw));
  std::memcpy(out.data(), drawn.data(), out.size());
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
