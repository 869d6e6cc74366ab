// The one table of widths and names behind dtype.h.
#include "tensor/dtype.h"

#include <array>

namespace precis {
namespace {

struct DTypeRow {
  DType dtype;
  int bits;
  std::string_view name;
};

constexpr std::array<DTypeRow, kDTypeCount> kRows = {{
    {DType::kBf16, 16, "BF16"},
    {DType::kF16, 16, "F16"},
    {DType::kF32, 32, "F32"},
    {DType::kF64, 64, "F64"},
    {DType::kF8E4M3, 8, "F8_E4M3"},
    {DType::kF8E5M2, 8, "F8_E5M2"},
    {DType::kF8E8M0, 8, "F8_E8M0"},
    {DType::kF4E2M1, 4, "F4"},
    {DType::kI8, 8, "I8"},
    {DType::kU8, 8, "U8"},
    {DType::kI16, 16, "I16"},
    {DType::kU16, 16, "U16"},
    {DType::kI32, 32, "I32"},
    {DType::kU32, 32, "U32"},
    {DType::kI64, 64, "I64"},
    {DType::kU64, 64, "U64"},
    {DType::kBool, 8, "BOOL"},
}};

constexpr bool rows_follow_the_enum() {
  for (std::size_t i = 0; i < kRows.size(); ++i) {
    if (static_cast<std::size_t>(kRows[i].dtype) != i) return false;
  }
  return true;
}
static_assert(rows_follow_the_enum(), "kRows is indexed by DType");

const DTypeRow& row(DType dtype) {
  return kRows[static_cast<std::size_t>(dtype)];
}

}  // namespace

int bits_per_element(DType dtype) {
  return row(dtype).bits;
}

std::uint64_t storage_bytes(DType dtype, std::uint64_t n_elements) {
  return (n_elements * static_cast<std::uint64_t>(row(dtype).bits) + 7) / 8;
}

std::string_view dtype_name(DType dtype) {
  return row(dtype).name;
}

std::optional<DType> dtype_from_name(std::string_view name) {
  for (const DTypeRow& r : kRows) {
    if (r.name == name) return r.dtype;
  }
  return std::nullopt;
}

}  // namespace precis
