#include "base/bytes.h"

#include <array>

#include <gtest/gtest.h>

namespace precis {
namespace {

TEST(Bytes, LeastSignificantByteStandsFirst) {
  std::array<std::byte, 8> out{};
  put_le<std::uint64_t>(out.data(), 0x0102030405060708);
  for (int i = 0; i < 8; ++i) EXPECT_EQ(std::to_integer<int>(out[i]), 8 - i);
}

TEST(Bytes, EveryWidthReadsBackWhatWasPutUnaligned) {
  std::array<std::byte, 9> out{};
  put_le<std::uint8_t>(&out[1], 0xfe);
  EXPECT_EQ(get_le<std::uint8_t>(&out[1]), 0xfe);
  put_le<std::uint16_t>(&out[1], 0xfedc);
  EXPECT_EQ(get_le<std::uint16_t>(&out[1]), 0xfedc);
  put_le<std::uint32_t>(&out[1], 0xfedcba98);
  EXPECT_EQ(get_le<std::uint32_t>(&out[1]), 0xfedcba98);
  put_le<std::uint64_t>(&out[1], 0xfedcba9876543210);
  EXPECT_EQ(get_le<std::uint64_t>(&out[1]), 0xfedcba9876543210);
  EXPECT_EQ(std::to_integer<int>(out[0]), 0);
}

}  // namespace
}  // namespace precis
