// Which instruction set the CPU backend runs on: found once, or forced by PRECIS_FORCE_ISA.
//
// Every kernel file is compiled once per instruction set by Highway's foreach_target; a backend
// keeps its choice and picks entry points with PRECIS_CPU_ENTRY, so that two backends with
// different choices can live in one process.  Nothing here may be called from inside a
// HWY_NAMESPACE.
#pragma once

#include <cstdint>
#include <string_view>

#include <hwy/targets.h>

#include "precis/status.h"

namespace precis {

enum class Isa : std::uint8_t {
  kBaseline,  // SSE4.2 on x86-64, without fused multiply-add; elsewhere what the compiler assumes
  kAvx2,      // AVX2, FMA, F16C
  kAvx512,    // AVX-512 with VBMI, VNNI and the rest of Ice Lake
};

/// "baseline", "avx2" or "avx512".
std::string_view isa_name(Isa isa);

/// Whether this processor and build can run `isa`.
bool is_available(Isa isa);

/// The instruction set to run on: the one PRECIS_FORCE_ISA names, else the best of this processor.
///
/// Errors    kInvalidArgument — PRECIS_FORCE_ISA names an instruction set that is unknown or that
///           this processor lacks; kUnsupported — the processor lacks even the baseline
Result<Isa> choose_isa();

}  // namespace precis

#if HWY_TARGETS & HWY_AVX3_DL
#define PRECIS_CPU_AVX512(function) (&N_AVX3_DL::function)
#else
#define PRECIS_CPU_AVX512(function) (&HWY_STATIC_DISPATCH(function))
#endif
#if HWY_TARGETS & HWY_AVX2
#define PRECIS_CPU_AVX2(function) (&N_AVX2::function)
#else
#define PRECIS_CPU_AVX2(function) (&HWY_STATIC_DISPATCH(function))
#endif

/// The version of `function` that was compiled for `isa`, as a function pointer.  For use in
/// namespace precis of a kernel file, after its HWY_NAMESPACE part.
#define PRECIS_CPU_ENTRY(isa, function)                          \
  ((isa) == ::precis::Isa::kAvx512 ? PRECIS_CPU_AVX512(function) \
   : (isa) == ::precis::Isa::kAvx2 ? PRECIS_CPU_AVX2(function)   \
                                   : &HWY_STATIC_DISPATCH(function))
