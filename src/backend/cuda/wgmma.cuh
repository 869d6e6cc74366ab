// Hopper's asynchronous machinery as functions: barriers in shared memory, bulk copies that report to
// them, and products of a warpgroup (wgmma).  Nothing here knows an operation.
//
// Operand tiles in shared memory are K-major with the 128-byte swizzle: rows of 128 bytes, eight rows
// to an atom of 1024 bytes (aligned to 1024), and the 16-byte piece c of row r lies at c ^ (r % 8).
// What is packed has this form in device memory already, so plain bulk copies load it; rows as a
// checkpoint stores them get it on the way, by the boxes of a tensor map.
// Source: PTX ISA 8.x, "Asynchronous Warpgroup Level Matrix Instructions", "mbarrier".
#pragma once

#include <cstdint>
#include <type_traits>

namespace precis::cuda {

inline constexpr int kWarpgroup = 128;     // threads
inline constexpr int kAtomRows = 8;        // rows of a swizzled atom
inline constexpr int kAtomRowBytes = 128;  // its row
inline constexpr int kAtomBytes = 1024;    // the whole

/// Where byte `column` (0 … 127) of row `row` lies in a tile of swizzled atoms.
__host__ __device__ constexpr int swizzled(int row, int column) {
  return row * kAtomRowBytes + (column ^ (row % kAtomRows * 16));
}

__device__ inline std::uint32_t shared_address(const void* shared) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
}

/// Bytes from `shared` to the first boundary of atoms: dynamic shared memory has a smaller alignment.
__device__ inline std::uint32_t bytes_to_atom(const void* shared) {
  return (kAtomBytes - shared_address(shared) % kAtomBytes) % kAtomBytes;
}

// ---- Barriers: a phase ends when `n_arrivals` have arrived and all announced bytes have landed.

using Barrier = std::uint64_t;

__device__ inline void init_barrier(Barrier* barrier, int n_arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)),
               "r"(n_arrivals));
}
/// Makes initialised barriers visible to copies and to the cluster; a barrier of the block (or of the
/// cluster) has to follow.
__device__ inline void publish_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ inline void arrive(Barrier* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier))
               : "memory");
}
/// Arrives at the same barrier of another block of the cluster: this thread has read what it had to read.
/// (Ordering its writes for the other block would take a fence of the whole device each time.)
__device__ inline void arrive_at(Barrier* barrier, int block_rank) {
  asm volatile(
      "{\n.reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [remote];\n}" ::"r"(shared_address(barrier)),
      "r"(block_rank)
      : "memory");
}
/// Arrives and announces bytes that copies will deliver in this phase.
__device__ inline void arrive_expecting(Barrier* barrier, int n_bytes) {
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
      "r"(n_bytes)
      : "memory");
}
/// Waits for the end of the phase of this parity: 0 for the first, then in turn.  What copies and this
/// block wrote is visible then; a wider scope would empty the L1 cache each time.
__device__ inline void wait(Barrier* barrier, int parity) {
  std::uint32_t done = 0;
  while (done == 0) {
    asm volatile(
        "{\n.reg .pred p;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
        "selp.u32 %0, 1, 0, p;\n}"
        : "=r"(done)
        : "r"(shared_address(barrier)), "r"(parity)
        : "memory");
  }
}

/// A place in a ring of stages; the parity changes with every round.
template <int kStages>
struct RingPlace {
  int stage = 0;
  int parity = 0;

  __device__ void advance() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

// ---- Copies by the TMA unit: 16-byte aligned, a multiple of 16 bytes; issued by one thread.

__device__ inline void copy_bulk(void* shared, const void* global, int n_bytes, Barrier* barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(shared_address(shared)),
      "l"(global), "r"(n_bytes), "r"(shared_address(barrier))
      : "memory");
}
/// As copy_bulk, to the same place of every block in `block_mask`, whose own barrier is told.
__device__ inline void copy_bulk_to_cluster(void* shared, const void* global, int n_bytes,
                                            Barrier* barrier, std::uint16_t block_mask) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster "
      "[%0], [%1], %2, [%3], %4;" ::"r"(shared_address(shared)),
      "l"(global), "r"(n_bytes), "r"(shared_address(barrier)), "h"(block_mask)
      : "memory");
}
/// Copies the box of a tensor map that begins at this column and row; what lies outside the tensor
/// arrives as zeros and counts.
__device__ inline void copy_box(void* shared, const void* map, int column, int row,
                                Barrier* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3}], [%4];" ::"r"(shared_address(shared)),
      "l"(map), "r"(column), "r"(row), "r"(shared_address(barrier))
      : "memory");
}
// ---- Copies of 16 bytes by each thread, for rows that are too short for the TMA unit: it takes some 25 ns
// for a copy of any length.

__device__ inline void copy_async(std::uint32_t shared_address, const void* global) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(shared_address),
               "l"(global)
               : "memory");
}
__device__ inline void copy_async(void* shared, const void* global) {
  copy_async(shared_address(shared), global);
}
/// The barrier's phase also waits for this thread's copies so far.  It counts them beside its arrivals:
/// one of those has to be outstanding still.
__device__ inline void delay_until_copied(Barrier* barrier) {
  asm volatile("cp.async.mbarrier.arrive.shared::cta.b64 [%0];" ::"r"(shared_address(barrier))
               : "memory");
}

/// Orders writes to shared memory before later wgmma and bulk copies of the block: this thread's own, and
/// those that a barrier has told it of, where it is one of those who multiply.
__device__ inline void publish_shared() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// ---- Blocks, clusters, launches.

__device__ inline int cluster_rank() {
  std::uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return static_cast<int>(rank);
}
__device__ inline void sync_cluster() {
  asm volatile(
      "barrier.cluster.arrive.release.aligned;\n"
      "barrier.cluster.wait.acquire.aligned;" ::
          : "memory");
}
/// Registers of each thread of a warpgroup from here on; what one gives back another may take.
template <int kRegisters>
__device__ inline void shrink_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ inline void grow_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
/// Lets the next kernel of the stream start, if it was launched to overlap (launch_overlapping).
__device__ inline void allow_next_kernel() {
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}
/// Waits until all that earlier kernels of the stream wrote is visible.
__device__ inline void await_earlier_kernels() {
  asm volatile("griddepcontrol.wait;" ::: "memory");
}

// ---- Products of a warpgroup: D[64, N] (+)= A[64, K] · B[N, K]ᵀ.
//
// One instruction takes 32 bytes of k: 32 codes or 16 bf16 numbers.  Thread t of the warpgroup, with
// lane l = t % 32, holds D[16·(t / 32) + l / 4 + 8·h][8·j + 2·(l % 4) + i] in d[4·j + 2·h + i].

/// The descriptor of an operand that starts at row 0 of an atom, any 32-byte step into its rows.
__device__ inline std::uint64_t describe(const void* shared) {
  constexpr std::uint64_t kSwizzle128 = std::uint64_t{1} << 62;
  constexpr std::uint64_t kAtomStride = std::uint64_t{kAtomBytes / 16} << 32;
  constexpr std::uint64_t kUnused = std::uint64_t{1} << 16;  // offset between atoms along k
  return kSwizzle128 | kAtomStride | kUnused | ((shared_address(shared) & 0x3ffff) >> 4);
}
/// The descriptor of the same rows, `n_steps` of 32 bytes further along k.
__device__ inline std::uint64_t along_k(std::uint64_t descriptor, int n_steps) {
  return descriptor + static_cast<std::uint64_t>(2 * n_steps);
}

/// Before the first product after registers or (with publish_shared) shared memory were written.
__device__ inline void begin_products() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ inline void commit_products() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/// Waits until at most `kPending` committed groups are under way.
template <int kPending>
__device__ inline void await_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
/// Keeps the compiler from moving uses of an accumulator across await_products.
template <typename T, int kCount>
__device__ inline void hold(T (&d)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    if constexpr (std::is_same_v<T, float>) {
      asm volatile("" : "+f"(d[i])::"memory");
    } else {
      asm volatile("" : "+r"(d[i])::"memory");
    }
  }
}

/// Operand types: the accumulator, and the pieces of the instruction's name.
struct E4m3 {
  using Sum = float;
  static constexpr char kType[] = "k32.f32.e4m3.e4m3";
  static constexpr char kTail[] = ", 1, 1";
  static constexpr char kTailOfRegisters[] = ", 1, 1";
};
struct Bf16 {
  using Sum = float;
  static constexpr char kType[] = "k16.f32.bf16.bf16";
  static constexpr char kTail[] = ", 1, 1, 0, 0";
  static constexpr char kTailOfRegisters[] = ", 1, 1, 0";
};
/// B is [k, N] with N along its rows (multiply_registers only).
struct Bf16Rows {
  using Sum = float;
  static constexpr char kType[] = "k16.f32.bf16.bf16";
  static constexpr char kTailOfRegisters[] = ", 1, 1, 1";
};
struct S8 {
  using Sum = std::int32_t;
  static constexpr char kType[] = "k32.s32.s8.s8";
  static constexpr char kTail[] = "";
  static constexpr char kTailOfRegisters[] = "";
};

// The assembler wants every accumulator spelled out: lists of 4, 8, 16 … operands and their names.
#define PRECIS_D4(c, i) c(d[i]), c(d[i + 1]), c(d[i + 2]), c(d[i + 3])
#define PRECIS_D8(c, i) PRECIS_D4(c, i), PRECIS_D4(c, i + 4)
#define PRECIS_D16(c, i) PRECIS_D8(c, i), PRECIS_D8(c, i + 8)
#define PRECIS_D32(c, i) PRECIS_D16(c, i), PRECIS_D16(c, i + 16)
#define PRECIS_D40(c, i) PRECIS_D32(c, i), PRECIS_D8(c, i + 32)
#define PRECIS_D48(c, i) PRECIS_D32(c, i), PRECIS_D16(c, i + 32)
#define PRECIS_D56(c, i) PRECIS_D48(c, i), PRECIS_D8(c, i + 48)
#define PRECIS_D64(c, i) PRECIS_D32(c, i), PRECIS_D32(c, i + 32)
#define PRECIS_D128(c, i) PRECIS_D64(c, i), PRECIS_D64(c, i + 64)
#define PRECIS_NAMES4 "%0,%1,%2,%3"
#define PRECIS_NAMES8 PRECIS_NAMES4 ",%4,%5,%6,%7"
#define PRECIS_NAMES16 PRECIS_NAMES8 ",%8,%9,%10,%11,%12,%13,%14,%15"
#define PRECIS_NAMES32 \
  PRECIS_NAMES16 ",%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define PRECIS_NAMES40 PRECIS_NAMES32 ",%32,%33,%34,%35,%36,%37,%38,%39"
#define PRECIS_NAMES48 PRECIS_NAMES40 ",%40,%41,%42,%43,%44,%45,%46,%47"
#define PRECIS_NAMES56 PRECIS_NAMES48 ",%48,%49,%50,%51,%52,%53,%54,%55"
#define PRECIS_NAMES64 PRECIS_NAMES56 ",%56,%57,%58,%59,%60,%61,%62,%63"
#define PRECIS_NAMES128                                                          \
  PRECIS_NAMES64                                                                 \
  ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79"             \
  ",%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95"             \
  ",%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111" \
  ",%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127"

// One instruction: `rest` names the operands behind the accumulators, `type` and `tail` are the operands
// that hold Type's strings.
#define PRECIS_WGMMA(c, N, R, rest, p, type, tail, ...)                         \
  asm volatile("{\n.reg .pred adds;\nsetp.ne.b32 adds, " p                      \
               ", 0;\n"                                                         \
               "wgmma.mma_async.sync.aligned.m64n" #N type " {" PRECIS_NAMES##R \
               "}, " rest ", adds" tail ";\n}"                                  \
               : PRECIS_D##R(c, 0)                                              \
               : __VA_ARGS__)
#define PRECIS_SHARED_A(c, N, R, a, b, p, type, tail)                                 \
  PRECIS_WGMMA(c, N, R, a ", " b, p, type, tail, "l"(a_tile), "l"(b_tile), "r"(adds), \
               "C"(Type::kType), "C"(Type::kTail))
#define PRECIS_REGISTER_A(c, N, R, a, b, p, type, tail)                                    \
  PRECIS_WGMMA(c, N, R, "{" a "}, " b, p, type, tail, "r"(a_words[0]), "r"(a_words[1]),    \
               "r"(a_words[2]), "r"(a_words[3]), "l"(b_tile), "r"(adds), "C"(Type::kType), \
               "C"(Type::kTailOfRegisters))

/// Adds the product of two tiles in shared memory to d, or sets d where `adds` is 0.
///
/// Requires  kN is 8, 16, 32, 64, 128 or 256
template <typename Type, int kN>
__device__ inline void multiply_tiles(typename Type::Sum (&d)[kN / 2], std::uint64_t a_tile,
                                      std::uint64_t b_tile, int adds) {
#define PRECIS_SIZES(c)                                                                    \
  if constexpr (kN == 8) PRECIS_SHARED_A(c, 8, 4, "%4", "%5", "%6", "%7", "%8");           \
  if constexpr (kN == 16) PRECIS_SHARED_A(c, 16, 8, "%8", "%9", "%10", "%11", "%12");      \
  if constexpr (kN == 32) PRECIS_SHARED_A(c, 32, 16, "%16", "%17", "%18", "%19", "%20");   \
  if constexpr (kN == 64) PRECIS_SHARED_A(c, 64, 32, "%32", "%33", "%34", "%35", "%36");   \
  if constexpr (kN == 128) PRECIS_SHARED_A(c, 128, 64, "%64", "%65", "%66", "%67", "%68"); \
  if constexpr (kN == 256) PRECIS_SHARED_A(c, 256, 128, "%128", "%129", "%130", "%131", "%132")
  if constexpr (std::is_same_v<typename Type::Sum, float>) {
    PRECIS_SIZES("+f");
  } else {
    PRECIS_SIZES("+r");
  }
#undef PRECIS_SIZES
}

/// As multiply_tiles, with A in registers: a_words[2·p + h] of a thread holds the four bytes of row
/// 16·(t / 32) + l / 4 + 8·h at 16·p + 4·(l % 4).  N may be 80, 96 and 112 too.
template <typename Type, int kN>
__device__ inline void multiply_registers(typename Type::Sum (&d)[kN / 2],
                                          const std::uint32_t (&a_words)[4], std::uint64_t b_tile,
                                          int adds) {
#define PRECIS_SIZES(c)                                                                    \
  if constexpr (kN == 8) {                                                                 \
    PRECIS_REGISTER_A(c, 8, 4, "%4,%5,%6,%7", "%8", "%9", "%10", "%11");                   \
  }                                                                                        \
  if constexpr (kN == 16) {                                                                \
    PRECIS_REGISTER_A(c, 16, 8, "%8,%9,%10,%11", "%12", "%13", "%14", "%15");              \
  }                                                                                        \
  if constexpr (kN == 32) {                                                                \
    PRECIS_REGISTER_A(c, 32, 16, "%16,%17,%18,%19", "%20", "%21", "%22", "%23");           \
  }                                                                                        \
  if constexpr (kN == 64) {                                                                \
    PRECIS_REGISTER_A(c, 64, 32, "%32,%33,%34,%35", "%36", "%37", "%38", "%39");           \
  }                                                                                        \
  if constexpr (kN == 80) {                                                                \
    PRECIS_REGISTER_A(c, 80, 40, "%40,%41,%42,%43", "%44", "%45", "%46", "%47");           \
  }                                                                                        \
  if constexpr (kN == 96) {                                                                \
    PRECIS_REGISTER_A(c, 96, 48, "%48,%49,%50,%51", "%52", "%53", "%54", "%55");           \
  }                                                                                        \
  if constexpr (kN == 112) {                                                               \
    PRECIS_REGISTER_A(c, 112, 56, "%56,%57,%58,%59", "%60", "%61", "%62", "%63");          \
  }                                                                                        \
  if constexpr (kN == 128) {                                                               \
    PRECIS_REGISTER_A(c, 128, 64, "%64,%65,%66,%67", "%68", "%69", "%70", "%71");          \
  }                                                                                        \
  if constexpr (kN == 256) {                                                               \
    PRECIS_REGISTER_A(c, 256, 128, "%128,%129,%130,%131", "%132", "%133", "%134", "%135"); \
  }
  if constexpr (std::is_same_v<typename Type::Sum, float>) {
    PRECIS_SIZES("+f")
  } else {
    PRECIS_SIZES("+r")
  }
#undef PRECIS_SIZES
}

#undef PRECIS_D4
#undef PRECIS_D8
#undef PRECIS_D16
#undef PRECIS_D32
#undef PRECIS_D40
#undef PRECIS_D48
#undef PRECIS_D56
#undef PRECIS_D64
#undef PRECIS_D128
#undef PRECIS_NAMES4
#undef PRECIS_NAMES8
#undef PRECIS_NAMES16
#undef PRECIS_NAMES32
#undef PRECIS_NAMES40
#undef PRECIS_NAMES48
#undef PRECIS_NAMES56
#undef PRECIS_NAMES64
#undef PRECIS_NAMES128
#undef PRECIS_WGMMA
#undef PRECIS_SHARED_A
#undef PRECIS_REGISTER_A

}  // namespace precis::cuda
