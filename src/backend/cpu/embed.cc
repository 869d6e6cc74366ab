// embed: table rows out of the panel layout.
//
// A row's words lie 64 bytes apart, so reading one passes over a whole panel (D·32 bytes of bf16, in
// order, which the prefetcher follows).  That is once per token against hundreds of
// products, and spares the table a layout of its own.
#include <algorithm>

#include "backend/cpu/backend.h"
#include "backend/cpu/grain.h"
#include "backend/cpu/weight.h"
#include "base/check.h"
#include "tensor/bf16.h"

namespace precis {
namespace {

// A word holds kWordValues consecutive values of a row.
template <typename T, std::int64_t kWordValues>
void read_row(const CpuWeight& table, std::int64_t row, float* out) {
  const auto* values = reinterpret_cast<const T*>(table.panel(row / kPanelOutputs)) +
                       row % kPanelOutputs * kWordValues;
  const std::int64_t n_words = table.n_in() / kWordValues;
  for (std::int64_t w = 0; w < n_words; ++w) {
    for (std::int64_t i = 0; i < kWordValues; ++i) {
      out[w * kWordValues + i] = values[w * kPanelOutputs * kWordValues + i];
    }
  }
  for (std::int64_t i = n_words * kWordValues; i < table.n_in(); ++i) {
    out[i] = values[n_words * kPanelOutputs * kWordValues + i % kWordValues];
  }
}

void embed_token(const CpuWeight& table, std::int32_t id, std::int64_t t, const Cube<float>& out) {
  PRECIS_CHECK_LE(0, id);
  PRECIS_CHECK_LT(id, table.n_out());
  float* first = out.at(t, 0);
  if (table.format() == WeightFormat::kBf16) {
    read_row<bf16, 2>(table, id, first);
  } else {
    read_row<float, 1>(table, id, first);
  }
  for (std::int64_t m = 1; m < out.planes; ++m) std::copy_n(first, out.cols, out.at(t, m));
}

}  // namespace

void CpuBackend::do_embed(const EmbedArgs& a) {
  const CpuWeight& table = as_cpu(*a.table);
  PRECIS_CHECK(table.format() == WeightFormat::kBf16 || table.format() == WeightFormat::kF32);
  for_each(threads_, a.out.n, static_cast<double>(a.out.cols) * 2, [&](std::int64_t t) {
    embed_token(table, a.ids[static_cast<std::size_t>(t)], t, a.out);
  });
}

}  // namespace precis
