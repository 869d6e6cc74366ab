// What this processor does at most: chains of multiply-adds and plain reads, one loop for each
// instruction set.
//
// Nothing here computes anything of use; the machine benchmark times these loops, and every other
// benchmark is judged by what they reach.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "backend/cpu/dispatch.h"

namespace precis {

enum class MultiplyAdd : std::uint8_t {
  kF32,   // f32 · f32 + f32; fused where the instruction set has it
  kBf16,  // pairs of bf16 products added to f32 (AVX512_BF16)
  kInt8,  // u8 · i8 products added to wider integers: VNNI, else pairs to 16 bits
};

/// "f32", "bf16" or "int8".
std::string_view multiply_add_name(MultiplyAdd unit);

/// Whether this processor and build can run `unit` on `isa`.
bool is_available(MultiplyAdd unit, Isa isa);

/// Operations of one round of run_multiply_adds, multiply and add counted as two.
///
/// Requires  is_available(unit, isa)
double flop_per_round(MultiplyAdd unit, Isa isa);

/// Runs `n_rounds` rounds of independent multiply-adds on the calling thread, all in registers.
///
/// Requires  is_available(unit, isa)
/// Ensures   the result depends on every operation
float run_multiply_adds(MultiplyAdd unit, Isa isa, std::int64_t n_rounds);

/// Reads every 64-byte line of `bytes` once on the calling thread.
///
/// Requires  is_available(isa); bytes.data() is 64-byte aligned and the size a multiple of 512
/// Ensures   the result depends on every byte
std::uint32_t read_all(Isa isa, std::span<const std::byte> bytes);

}  // namespace precis
