#include "model/ablation.h"

#include <algorithm>
#include <array>
#include <string>

#include "base/check.h"
#include "base/rng.h"

namespace precis {
namespace {

constexpr std::array<AblationInfo, 7> kAblations{{
    {Ablation::kNone, "none", "attention as the model has it"},
    {Ablation::kWindow, "window", "no layer reads compressed rows"},
    {Ablation::kRandom, "random",
     "sparse layers read as many rows at random as the indexer selects"},
    {Ablation::kRecent, "recent",
     "sparse layers read the last rows, as many as the indexer selects"},
    {Ablation::kDense, "dense", "sparse layers read every row"},
    {Ablation::kNoSparse, "csa-off", "sparse layers read no compressed rows"},
    {Ablation::kNoHeavy, "hca-off", "heavily compressed layers read no compressed rows"},
}};

// Floyd's draw: every set of rows is equally likely, with one random number a row.
void draw_rows(std::uint64_t stream, std::int64_t n_visible, std::span<std::int32_t> out) {
  auto drawn = out.begin();  // ascending up to here
  for (std::int64_t last = n_visible - std::ssize(out); last < n_visible; ++last) {
    const double unit = random_unit(stream, static_cast<std::uint64_t>(last));
    const auto row = static_cast<std::int32_t>(unit * static_cast<double>(last + 1));
    const auto at = std::lower_bound(out.begin(), drawn, row);
    if (at != drawn && *at == row) {
      *drawn = static_cast<std::int32_t>(last);
    } else {
      std::move_backward(at, drawn, drawn + 1);
      *at = row;
    }
    ++drawn;
  }
}

}  // namespace

std::span<const AblationInfo> ablations() {
  return kAblations;
}

const AblationInfo& ablation_info(Ablation ablation) {
  return *std::ranges::find(kAblations, ablation, &AblationInfo::ablation);
}

Result<Ablation> parse_ablation(std::string_view name) {
  std::string known;
  for (const AblationInfo& info : kAblations) {
    if (info.name == name) return info.ablation;
    known += (known.empty() ? "" : ", ") + std::string(info.name);
  }
  return Error{ErrorCode::kInvalidArgument,
               "ablation: want one of " + known + ", found \"" + std::string(name) + "\""};
}

bool RowAblation::reads_compressed(LayerKind layer) const {
  switch (layer) {
    case LayerKind::kWindow: return false;
    case LayerKind::kSparse: return kind != Ablation::kWindow && kind != Ablation::kNoSparse;
    case LayerKind::kHeavy: return kind != Ablation::kWindow && kind != Ablation::kNoHeavy;
  }
  return false;
}

bool RowAblation::reads_all(LayerKind layer) const {
  if (!reads_compressed(layer)) return false;
  return layer == LayerKind::kHeavy || kind == Ablation::kDense;
}

void replacement_rows(const RowAblation& ablation, int layer, std::int64_t position,
                      std::int64_t n_visible, std::span<std::int32_t> out) {
  PRECIS_CHECK(ablation.replaces_selection());
  const auto n = static_cast<std::size_t>(std::min<std::int64_t>(std::ssize(out), n_visible));
  std::ranges::fill(out.subspan(n), -1);
  if (ablation.kind == Ablation::kRecent) {
    for (std::size_t i = 0; i < n; ++i) {
      out[i] = static_cast<std::int32_t>(n_visible - 1) - static_cast<std::int32_t>(i);
    }
    return;
  }
  const std::uint64_t of_layer = random_bits(ablation.seed, static_cast<std::uint64_t>(layer));
  draw_rows(random_bits(of_layer, static_cast<std::uint64_t>(position)), n_visible, out.first(n));
}

}  // namespace precis
