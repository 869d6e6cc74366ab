#include "backend/cpu/dispatch.h"

#include <array>
#include <optional>
#include <string>

#include <fmt/format.h>
#include <hwy/highway.h>

#include "base/env.h"

namespace precis {
namespace {

constexpr std::array kBestFirst = {Isa::kAvx512, Isa::kAvx2, Isa::kBaseline};

}  // namespace

bool is_available(Isa isa) {
  const std::int64_t usable = hwy::SupportedTargets() & HWY_TARGETS;
  switch (isa) {
    case Isa::kAvx512: return (usable & HWY_AVX3_DL) != 0;
    case Isa::kAvx2: return (usable & HWY_AVX2) != 0;
    case Isa::kBaseline: return (usable & HWY_STATIC_TARGET) != 0;
  }
  return false;
}

std::string_view isa_name(Isa isa) {
  switch (isa) {
    case Isa::kAvx512: return "avx512";
    case Isa::kAvx2: return "avx2";
    case Isa::kBaseline: return "baseline";
  }
  return "";
}

Result<Isa> choose_isa() {
  const std::optional<std::string> forced = env_force_isa();
  for (const Isa isa : kBestFirst) {
    if (forced && *forced != isa_name(isa)) continue;
    if (is_available(isa)) return isa;
    if (!forced) continue;
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("PRECIS_FORCE_ISA asks for {}, which this processor lacks", *forced)};
  }
  if (!forced) {
    return Error{ErrorCode::kUnsupported,
                 "the CPU backend needs SSE4.2, which this processor lacks"};
  }
  return Error{
      ErrorCode::kInvalidArgument,
      fmt::format("PRECIS_FORCE_ISA must be avx512, avx2 or baseline, not \"{}\"", *forced)};
}

}  // namespace precis
