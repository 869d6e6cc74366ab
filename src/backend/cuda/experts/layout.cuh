// Where codes lie: FP4 weights as a thread of wgmma takes them, and quantised rows as its B operand.
//
// An FP4 weight is packed in blocks of 64 rows by 128 of k, [n_out / 64][n_in / 128], each 4096 bytes of
// codes and 256 of shifts.  Eight rows are a unit: lane 4·g + t of a warp owns the 32 codes
// k = 32·t … 32·t + 31 of row g, one group of the checkpoint and so one scale, in 16 bytes.  Word s of
// them holds k = 8·s … 8·s + 7; its nibbles keep the magnitudes in place, and the sign of code j is bit
// 8·j + 7, that of code 4 + j bit 8·j + 3, where one shift brings them to the tops of bytes.
//
// A row has one power of two as scale.  A group adds its distance from it, a shift of 0 … 14, to the
// exponents of the e4m3 codes that its nibbles expand to: e2m1 times 2^(shift - 8) is an e4m3 number.
//
// The order of k that this gives to the tensor cores is that of permuted(): inputs are written in it.
#pragma once

#include <cstdint>

#include "backend/cuda/wgmma.cuh"

namespace precis::cuda {

inline constexpr int kDepth = 128;      // k of a block, a stage, a sum of the tensor cores
inline constexpr int kBlockRows = 64;   // of a packed block
inline constexpr int kUnitRows = 8;     // rows of a unit; inputs too are kept eight rows at a time
inline constexpr int kUnitBytes = 512;  // codes of a unit
inline constexpr int kBlockCodeBytes = kBlockRows / kUnitRows * kUnitBytes;
inline constexpr int kBlockBytes = kBlockCodeBytes + kBlockRows * kDepth / 32;
inline constexpr int kMaxShift = 14;
inline constexpr int kShiftBias = 8;  // a shift s means 2^(s - 8)

/// Byte of block `k_block` of row `row` at which code k % 128 lies in quantised rows: within a row of
/// 128 bytes the words are transposed as a matrix [4, 8], and pieces of 16 bytes are swizzled.
__host__ __device__ constexpr int permuted(int k) {
  const int word = k / 4;
  return 4 * (word % 8 * 4 + word / 8) + k % 4;
}

/// Quantised rows, in units of eight: [n_units][n_blocks] atoms of 1024 bytes, and as many scales.
struct QuantisedRows {
  std::uint8_t* codes = nullptr;
  float* scales = nullptr;  // [n_units][n_blocks][8]
  int n_blocks = 0;

  __host__ __device__ std::int64_t atom(int row, int block) const {
    return static_cast<std::int64_t>(row / kUnitRows) * n_blocks + block;
  }
  __device__ std::uint8_t* row(int row_idx, int block) const {
    return codes + atom(row_idx, block) * kAtomBytes;
  }
  __device__ float* scale(int row_idx, int block) const {
    return scales + atom(row_idx, block) * kUnitRows + row_idx % kUnitRows;
  }
};

/// A packed FP4 weight's word of codes k … k + 7 (k a multiple of 8), and its group's shift.
__device__ inline std::uint32_t packed_word(const std::uint8_t* blocks, int n_in, int n, int k,
                                            int* shift) {
  const std::uint8_t* block =
      blocks +
      (static_cast<std::int64_t>(n / kBlockRows) * (n_in / kDepth) + k / kDepth) * kBlockBytes;
  const int unit = n % kBlockRows / kUnitRows;
  const int lane = n % kUnitRows * 4 + k % kDepth / 32;
  *shift = block[kBlockCodeBytes + unit * 32 + lane] / 8;
  return *reinterpret_cast<const std::uint32_t*>(block + unit * kUnitBytes + lane * 16 +
                                                 k % 32 / 8 * 4);
}

/// Nibbles in the checkpoint's order from a packed word, and back: an involution it is not.
__host__ __device__ constexpr std::uint32_t packed_signs(std::uint32_t word) {
  std::uint32_t out = word & 0x77777777;
  for (int j = 0; j < 4; ++j) {
    out |= (word >> (4 * j + 3) & 1) << (8 * j + 7);
    out |= (word >> (4 * j + 19) & 1) << (8 * j + 3);
  }
  return out;
}
__host__ __device__ constexpr std::uint32_t unpacked_signs(std::uint32_t word) {
  std::uint32_t out = word & 0x77777777;
  for (int j = 0; j < 4; ++j) {
    out |= (word >> (8 * j + 7) & 1) << (4 * j + 3);
    out |= (word >> (8 * j + 3) & 1) << (4 * j + 19);
  }
  return out;
}

}  // namespace precis::cuda
