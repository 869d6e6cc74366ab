// How an ablation changes the rows that a layer reads.
#pragma once

#include <cstdint>
#include <span>

#include "precis/ablation.h"

#include "model/config.h"

namespace precis {

/// What is done to the selections of a model.
struct RowAblation {
  Ablation kind = Ablation::kNone;
  std::uint64_t seed = 1;  // of kRandom

  /// Whether rows chosen on the host take the place of the indexer's.
  bool replaces_selection() const { return kind == Ablation::kRandom || kind == Ablation::kRecent; }
  /// Whether layers of `layer` read compressed rows at all.
  bool reads_compressed(LayerKind layer) const;
  /// Whether layers of `layer` read every visible row.
  bool reads_all(LayerKind layer) const;
};

/// The rows that the token at `position` reads in sparse layer `layer`, in place of the indexer's.
///
/// Requires  ablation.replaces_selection()
/// Ensures   `out` holds min(out.size(), n_visible) different rows of 0 … n_visible − 1, then −1; it
///           depends on the arguments alone, so not on the cut of the tokens into steps
void replacement_rows(const RowAblation& ablation, int layer, std::int64_t position,
                      std::int64_t n_visible, std::span<std::int32_t> out);

}  // namespace precis
