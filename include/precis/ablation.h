// Attention with a part taken away or replaced: what a score loses by it, it owed to that part.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "precis/status.h"

namespace precis {

/// Which compressed rows the layers read in place of those that the model would.  The window is
/// read in any case.
enum class Ablation : std::uint8_t {
  kNone,
  kWindow,    // no layer reads compressed rows
  kRandom,    // sparse layers: as many rows as the indexer selects, drawn among the visible ones
  kRecent,    // sparse layers: the last rows, as many
  kDense,     // sparse layers: every visible row
  kNoSparse,  // sparse layers read no compressed rows
  kNoHeavy,   // heavily compressed layers read no compressed rows
};

struct AblationInfo {
  Ablation ablation = Ablation::kNone;
  std::string_view name;    // "window"
  std::string_view effect;  // "no layer reads compressed rows"
};
/// All of them, kNone ("none") first.
std::span<const AblationInfo> ablations();
const AblationInfo& ablation_info(Ablation ablation);

/// Errors    kInvalidArgument — no such name; the message lists the known ones
Result<Ablation> parse_ablation(std::string_view name);

}  // namespace precis
