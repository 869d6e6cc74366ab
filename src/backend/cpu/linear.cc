// linear: products of shared inputs with weights, cut into tiles of 96 rows x 32 outputs.
#include <vector>

#include "backend/cpu/backend.h"
#include "backend/cpu/weight.h"

#ifndef PRECIS_CPU_LINEAR_TILE_
#define PRECIS_CPU_LINEAR_TILE_
namespace precis {
namespace {

// Outputs [begin, end) of one target, all in one group and in at most kTilePanels panels.  A panel
// that two groups share belongs to a tile of each, which stores its own outputs of it.
struct OutputTile {
  const LinearTarget* target;
  std::int64_t x_column;
  std::int64_t begin;
  std::int64_t end;
};

}  // namespace
}  // namespace precis
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/linear.cc"
#include <hwy/foreach_target.h>  // must come before the per-target headers

#include "backend/cpu/product.h"

HWY_BEFORE_NAMESPACE();
namespace precis {
namespace HWY_NAMESPACE {
namespace {

void run_linear(const OutputTile& tile, Mat<const float> x, std::int64_t row_begin, int n_rows,
                Rounding rounding) {
  HWY_ALIGN float results[kTileRows * kTileOutputs];
  const float* rows[kTileRows];
  for (int r = 0; r < n_rows; ++r) rows[r] = x.row(row_begin + r) + tile.x_column;
  const std::int64_t first_panel = tile.begin / kPanelOutputs;
  const std::int64_t skipped = tile.begin - first_panel * kPanelOutputs;
  const auto n_outputs = static_cast<std::size_t>(tile.end - tile.begin);
  const int n_panels =
      static_cast<int>((tile.end + kPanelOutputs - 1) / kPanelOutputs - first_panel);
  multiply_tile(as_cpu(*tile.target->weight), first_panel, n_panels, rows, n_rows, results);
  for (int r = 0; r < n_rows; ++r) {
    store_rounded(results + r * kTileOutputs + skipped, n_outputs, rounding,
                  tile.target->out.row(row_begin + r) + tile.begin);
  }
}

void run_quantize(const float* x, std::int64_t n, float* out) {
  fake_quantize_e4m3(x, static_cast<std::size_t>(n), out);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace precis
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace precis {
namespace {

std::vector<OutputTile> cut_outputs(const LinearArgs& a) {
  std::vector<OutputTile> tiles;
  for (const LinearTarget& target : a.targets) {
    const std::int64_t group_outputs = target.weight->n_out() / a.n_groups;
    for (std::int64_t group = 0; group < a.n_groups; ++group) {
      const std::int64_t end = (group + 1) * group_outputs;
      for (std::int64_t begin = group * group_outputs; begin < end;) {
        const std::int64_t panel_begin = begin / kPanelOutputs * kPanelOutputs;
        const std::int64_t tile_end = std::min(end, panel_begin + kTileOutputs);
        tiles.push_back({&target, group * target.weight->n_in(), begin, tile_end});
        begin = tile_end;
      }
    }
  }
  return tiles;
}

}  // namespace

Mat<const float> CpuBackend::quantized(Mat<const float> x, InputQuant input,
                                       ScratchBuffer& scratch) {
  if (input == InputQuant::kNone || x.empty()) return x;
  const Mat<float> out(scratch.get<float>(static_cast<std::size_t>(x.rows * x.cols)), x.rows,
                       x.cols);
  const auto run = PRECIS_CPU_ENTRY(isa_, run_quantize);
  for_each(threads_, x.rows, static_cast<double>(x.cols) / 2,
           [&](std::int64_t row) { run(x.row(row), x.cols, out.row(row)); });
  return out;
}

void CpuBackend::do_linear(const LinearArgs& a) {
  const std::vector<OutputTile> tiles = cut_outputs(a);
  if (a.x.rows == 0 || tiles.empty()) return;
  const Mat<const float> x = quantized(a.x, a.input, input_scratch_);
  const std::int64_t n_row_tiles = (x.rows + kTileRows - 1) / kTileRows;
  const double tile_ns = product_ns(a.targets[0].weight->n_in() * kTileOutputs,
                                    std::min<std::int64_t>(x.rows, kTileRows));
  const auto run = PRECIS_CPU_ENTRY(isa_, run_linear);
  // Row tiles run fastest, so that a chunk meets the same weights again in the cache.
  for_each(threads_, std::ssize(tiles) * n_row_tiles, tile_ns, [&](std::int64_t i) {
    const std::int64_t row = i % n_row_tiles * kTileRows;
    const int n_rows = static_cast<int>(std::min<std::int64_t>(kTileRows, x.rows - row));
    run(tiles[static_cast<std::size_t>(i / n_row_tiles)], x, row, n_rows, a.rounding);
  });
}

}  // namespace precis
#endif  // HWY_ONCE
