// Checkpoints of given shapes with seeded random weights: the true names, dtypes and block scales,
// and nothing learned.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "precis/status.h"

#include "model/config.h"

namespace precis {

enum class SyntheticDtypes : std::uint8_t {
  kRelease,  // FP8 projections, FP4 experts, BF16 and F32 as released
  kBf16,     // every matrix BF16
};

/// Writes config.json and model.safetensors into `dir`, which is made if it is not there.
///
/// Ensures   the same config, dtypes and seed give the same bytes; activations stay near unit size
/// Errors    as parse_config for `config_json`; kIo — the files cannot be written
/// Cost      every weight is held in memory once
Result<void> write_synthetic(const std::filesystem::path& dir, const std::string& config_json,
                             SyntheticDtypes dtypes, std::uint64_t seed);

}  // namespace precis
