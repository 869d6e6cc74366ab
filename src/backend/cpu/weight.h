// Weight matrices in the CPU layout: codes as stored, interleaved so that lanes are outputs.
//
// 16 consecutive outputs form a panel; a panel holds words of one code (f32), of two (bf16, FP8) or
// of eight (FP4) consecutive k, for each word in ascending order its 16 outputs side by side.  A
// product for one token thus streams the matrix once, front to back, with one vector load per word.
// The last panel and the last words are padded with zeros.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/weight.h"
#include "tensor/buffer.h"

namespace precis {

inline constexpr int kPanelOutputs = 16;

class CpuWeight final : public Weight {
 public:
  /// An unfilled matrix in zeroed memory of layout_bytes(source); reads no pointer of `source`.
  CpuWeight(const WeightSource& source, Buffer memory);

  static std::size_t layout_bytes(const WeightSource& source);

  std::int64_t n_panels() const { return (n_out() + kPanelOutputs - 1) / kPanelOutputs; }
  std::size_t panel_bytes() const { return panel_bytes_; }
  /// k values that share a scale: 128 (FP8), 32 (FP4), 0 where there are no scales.
  int scale_group() const { return scale_group_; }

  /// Codes of one panel: f32 [n_in, 16], bf16 and FP8 [⌈n_in / 2⌉, 16, 2] values, FP4
  /// [⌈n_in / 8⌉, 16, 4] bytes.
  std::byte* panel(std::int64_t index) const {
    return memory_.data() + static_cast<std::size_t>(index) * panel_bytes_;
  }
  /// Scale bytes (e8m0) of one panel: [⌈n_in / scale_group⌉, 16].
  std::uint8_t* panel_scales(std::int64_t index) const {
    return reinterpret_cast<std::uint8_t*>(memory_.data()) + scales_offset_ +
           static_cast<std::size_t>(index) * scale_panel_bytes_;
  }

  /// Copies panel `index` of `source` into this layout.
  void fill_panel(const WeightSource& source, std::int64_t index);

 private:
  void fill_scales(const WeightSource& source, std::int64_t index, std::int64_t n_lanes);

  Buffer memory_;
  int scale_group_ = 0;
  std::size_t panel_bytes_ = 0;
  std::size_t scale_panel_bytes_ = 0;
  std::size_t scales_offset_ = 0;
};

/// `weight` as this backend made it.
inline const CpuWeight& as_cpu(const Weight& weight) {
  return static_cast<const CpuWeight&>(weight);
}

}  // namespace precis
