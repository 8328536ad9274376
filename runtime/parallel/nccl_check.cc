// Compares nccl_abi.h with NCCL's own header, when CUDA and NCCL are there to build with. No code.

#if defined(ISOBIT_HAVE_CUDA) && __has_include(<nccl.h>) && __has_include(<cuda_runtime.h>)
#include <nccl.h>

#include <type_traits>

#include "runtime/parallel/nccl_abi.h"

namespace isobit::nccl {
namespace {

// An enumeration, a handle and a structure travel as the int, the pointer and the bytes in its
// place.
template <class T>
struct Travels {
  using type = std::conditional_t<std::is_enum_v<T>, int, T>;
};
template <class T>
struct Travels<T*> {
  using Bare = std::remove_cv_t<T>;
  using type = std::conditional_t<
      std::is_enum_v<Bare>, int*,
      std::conditional_t<std::is_same_v<Bare, ncclUniqueId>, UniqueId*,
                         std::conditional_t<std::is_same_v<Bare, ncclComm_t>, Comm*,
                                            std::conditional_t<std::is_class_v<Bare>, void*, T*>>>>;
};
template <>
struct Travels<ncclUniqueId> {
  using type = UniqueId;
};
template <class F>
struct Plain;
template <class R, class... A>
struct Plain<R(A...)> {
  using type = typename Travels<R>::type(typename Travels<A>::type...);
};

template <class Ours, auto& theirs>
constexpr bool kSame =
    std::is_same_v<Ours, typename Plain<std::remove_reference_t<decltype(theirs)>>::type>;

static_assert(sizeof(UniqueId) == sizeof(ncclUniqueId));
static_assert(alignof(UniqueId) == alignof(ncclUniqueId));
static_assert(sizeof(ncclResult_t) == sizeof(int) && sizeof(ncclDataType_t) == sizeof(int));
static_assert(kSuccess == ncclSuccess && kInProgress == ncclInProgress && kBytes == ncclUint8);
static_assert(kSame<GetVersion, ncclGetVersion>);
static_assert(kSame<GetUniqueId, ncclGetUniqueId>);
static_assert(kSame<CommInitRank, ncclCommInitRank>);
static_assert(kSame<CommAbort, ncclCommAbort>);
static_assert(kSame<GetErrorString, ncclGetErrorString>);
static_assert(kSame<CommGetAsyncError, ncclCommGetAsyncError>);
static_assert(kSame<GroupStart, ncclGroupStart>);
static_assert(kSame<GroupEnd, ncclGroupEnd>);
static_assert(kSame<AllGather, ncclAllGather>);
static_assert(kSame<Broadcast, ncclBroadcast>);

}  // namespace
}  // namespace isobit::nccl
#endif
