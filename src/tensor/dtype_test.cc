#include "tensor/dtype.h"

#include <gtest/gtest.h>

namespace precis {
namespace {

TEST(DType, EveryNameLeadsBackToItsType) {
  for (int i = 0; i < kDTypeCount; ++i) {
    const auto dtype = static_cast<DType>(i);
    const auto found = dtype_from_name(dtype_name(dtype));
    ASSERT_TRUE(found.has_value()) << dtype_name(dtype);
    EXPECT_EQ(*found, dtype) << dtype_name(dtype);
  }
}

TEST(DType, UnknownNamesAreNotGuessed) {
  for (const char* name : {"", "bf16", "BF16 ", "F8", "F8_E4M3FN", "I4"}) {
    EXPECT_FALSE(dtype_from_name(name).has_value()) << name;
  }
}

TEST(DType, StorageCountsBytesAndRoundsHalfBytesUp) {
  EXPECT_EQ(storage_bytes(DType::kBf16, 3), 6u);
  EXPECT_EQ(storage_bytes(DType::kF32, 3), 12u);
  EXPECT_EQ(storage_bytes(DType::kF8E4M3, 3), 3u);
  EXPECT_EQ(storage_bytes(DType::kF8E8M0, 3), 3u);
  EXPECT_EQ(storage_bytes(DType::kI64, 3), 24u);
  EXPECT_EQ(storage_bytes(DType::kF4E2M1, 4), 2u);
  EXPECT_EQ(storage_bytes(DType::kF4E2M1, 5), 3u);
  EXPECT_EQ(storage_bytes(DType::kI8, 0), 0u);
}

}  // namespace
}  // namespace precis
