#include "backend/cpu/weight.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "tensor/float8.h"

namespace precis {
namespace {

constexpr std::size_t kAlignment = 64;

struct Layout {
  std::size_t panel_bytes = 0;
  std::size_t scale_panel_bytes = 0;
  std::size_t scales_offset = 0;
  int scale_group = 0;
  std::size_t total_bytes = 0;
};

Layout layout_of(const WeightSource& source) {
  const auto n_in = static_cast<std::size_t>(source.n_in);
  const auto n_panels =
      static_cast<std::size_t>((source.n_out + kPanelOutputs - 1) / kPanelOutputs);
  Layout out;
  switch (source.format) {
    case WeightFormat::kF32: out.panel_bytes = n_in * kPanelOutputs * 4; break;
    case WeightFormat::kBf16: out.panel_bytes = (n_in + 1) / 2 * 4 * kPanelOutputs; break;
    case WeightFormat::kFp8Block:
      out.panel_bytes = (n_in + 1) / 2 * 2 * kPanelOutputs;
      out.scale_group = source.block_in;
      PRECIS_CHECK_EQ(source.block_in, 128);
      break;
    case WeightFormat::kFp4Group:
      PRECIS_CHECK_EQ(source.n_in % 2, 0);
      out.panel_bytes = (n_in + 7) / 8 * 4 * kPanelOutputs;
      out.scale_group = source.block_in;
      PRECIS_CHECK_EQ(source.block_in, 32);
      break;
  }
  if (out.scale_group > 0) {
    const auto group = static_cast<std::size_t>(out.scale_group);
    out.scale_panel_bytes = (n_in + group - 1) / group * kPanelOutputs;
  }
  out.scales_offset = (out.panel_bytes * n_panels + kAlignment - 1) / kAlignment * kAlignment;
  out.total_bytes = out.scales_offset + out.scale_panel_bytes * n_panels;
  return out;
}

// n_lanes rows of row_bytes each, cut into words, to [words, 16]; lanes without a row and the end of
// a word without codes keep the memory's zeros.
template <typename Word>
void interleave(const std::byte* rows, std::size_t row_bytes, std::int64_t n_lanes,
                std::byte* panel) {
  constexpr std::size_t kStride = kPanelOutputs * sizeof(Word);
  for (std::int64_t lane = 0; lane < n_lanes; ++lane) {
    const std::byte* row = rows + static_cast<std::size_t>(lane) * row_bytes;
    std::byte* out = panel + static_cast<std::size_t>(lane) * sizeof(Word);
    std::size_t i = 0;
    for (; i + sizeof(Word) <= row_bytes; i += sizeof(Word), out += kStride) {
      std::memcpy(out, row + i, sizeof(Word));
    }
    std::memcpy(out, row + i, row_bytes - i);
  }
}

bool has_nan_code(const std::byte* codes, std::int64_t n) {
  return std::any_of(codes, codes + n, [](std::byte code) {
    return (std::to_integer<int>(code) & 0x7f) == kE4m3Nan;
  });
}

}  // namespace

std::size_t CpuWeight::layout_bytes(const WeightSource& source) {
  return layout_of(source).total_bytes;
}

CpuWeight::CpuWeight(const WeightSource& source, Buffer memory)
    : Weight(source.format, source.n_out, source.n_in), memory_(std::move(memory)) {
  const Layout layout = layout_of(source);
  scale_group_ = layout.scale_group;
  panel_bytes_ = layout.panel_bytes;
  scale_panel_bytes_ = layout.scale_panel_bytes;
  scales_offset_ = layout.scales_offset;
}

void CpuWeight::fill_panel(const WeightSource& source, std::int64_t index) {
  const std::int64_t first = index * kPanelOutputs;
  const std::int64_t n_lanes = std::min<std::int64_t>(kPanelOutputs, n_out() - first);
  const std::size_t row_bytes = source.code_bytes() / static_cast<std::size_t>(n_out());
  const std::byte* rows = source.codes + static_cast<std::size_t>(first) * row_bytes;
  switch (format()) {
    case WeightFormat::kF32:
    case WeightFormat::kBf16:
    case WeightFormat::kFp4Group:
      interleave<std::uint32_t>(rows, row_bytes, n_lanes, panel(index));
      break;
    case WeightFormat::kFp8Block:
      interleave<std::uint16_t>(rows, row_bytes, n_lanes, panel(index));
      break;
  }
  if (scale_group_ > 0) fill_scales(source, index, n_lanes);
}

// The kernels do not know e4m3's NaN.  A row that holds one is NaN from there on in every product,
// so its scale says it instead: NaN in that row's lane for that group.
void CpuWeight::fill_scales(const WeightSource& source, std::int64_t index, std::int64_t n_lanes) {
  const std::int64_t n_groups = (n_in() + scale_group_ - 1) / scale_group_;
  std::uint8_t* out = panel_scales(index);
  for (std::int64_t lane = 0; lane < n_lanes; ++lane) {
    const std::int64_t row = index * kPanelOutputs + lane;
    const std::uint8_t* scales = source.scales + row / source.block_out * n_groups;
    for (std::int64_t group = 0; group < n_groups; ++group) {
      std::uint8_t scale = scales[group];
      if (format() == WeightFormat::kFp8Block) {
        const std::int64_t begin = group * scale_group_;
        const std::int64_t n = std::min<std::int64_t>(scale_group_, n_in() - begin);
        if (has_nan_code(source.codes + row * n_in() + begin, n)) scale = kE8m0Nan;
      }
      out[group * kPanelOutputs + lane] = scale;
    }
  }
}

}  // namespace precis
