#include "tensor/random_table.h"

#include <cstring>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

namespace precis {
namespace {

RandomTable table_of(int element_bytes) {
  RandomTable table{.key = 7, .element_bytes = element_bytes, .values = {}};
  std::iota(table.values.begin(), table.values.end(), 0x01020300U);
  return table;
}

TEST(RandomTable, EveryElementFollowsFromKeyAndIndexAlone) {
  for (const int width : {1, 2, 4}) {
    const RandomTable table = table_of(width);
    constexpr std::int64_t kN = 1003;  // ends within a draw
    std::vector<std::byte> bytes(static_cast<std::size_t>(kN * width));
    fill_random(table, 0, bytes);
    for (std::int64_t i = 0; i < kN; ++i) {
      const std::uint64_t draw = random_bits(7, static_cast<std::uint64_t>(i / 8));
      const std::uint32_t want = table.values[draw >> (8 * (i % 8)) & 255];
      std::uint32_t got = 0;
      std::memcpy(&got, bytes.data() + i * width, static_cast<std::size_t>(width));
      const std::uint32_t mask = width == 4 ? ~0U : (1U << (8 * width)) - 1;
      ASSERT_EQ(got, want & mask) << "element " << i << " of " << width << " bytes";
    }
  }
}

TEST(RandomTable, PartsAreThoseOfTheWhole) {
  for (const int width : {1, 2, 4}) {
    const RandomTable table = table_of(width);
    std::vector<std::byte> whole(static_cast<std::size_t>(500 * width));
    fill_random(table, 0, whole);
    for (const std::int64_t first : {8, 64, 496}) {
      std::vector<std::byte> part(static_cast<std::size_t>((500 - first) * width));
      fill_random(table, first, part);
      EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + first * width)) << first;
    }
  }
}

}  // namespace
}  // namespace precis
