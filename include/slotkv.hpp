/* slotkv for C++17, over slotkv.h: RAII, futures, views. All of it is in this header; link with libslotkv.
 *
 * A failed call throws slotkv::Error. With SLOTKV_NO_EXCEPTIONS defined, or where the compiler has them switched off,
 * nothing is thrown and every Result says for itself whether it succeeded.
 *
 * Texts and bytes go in as std::string_view and come out as views into the Result they belong to. Clients, queues and
 * scans may be used by any number of threads; a Result by one at a time. */

#ifndef SLOTKV_HPP
#define SLOTKV_HPP

#include "slotkv.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <future>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#if !defined(SLOTKV_NO_EXCEPTIONS) && !defined(__cpp_exceptions)
#define SLOTKV_NO_EXCEPTIONS 1
#endif

namespace slotkv {

using Code = slotkv_code_t;
using Status = slotkv_status_t;
using Outcome = slotkv_outcome_t;
using Retry = slotkv_retry_t;
using ReadLevel = slotkv_read_level_t;

/// Values that follow one another, owned by somebody else; C++20 has std::span for it.
template <typename T>
class Span {
public:
    constexpr Span() = default;
    constexpr Span(const T *first, std::size_t count) : first_(first), count_(count) {}

    constexpr const T *begin() const { return first_; }
    constexpr const T *end() const { return first_ + count_; }
    constexpr const T *data() const { return first_; }
    constexpr std::size_t size() const { return count_; }
    constexpr bool empty() const { return count_ == 0; }
    constexpr const T &operator[](std::size_t at) const { return first_[at]; }

private:
    const T *first_ = nullptr;
    std::size_t count_ = 0;
};

/// Bytes of C as a view.
inline std::string_view view(slotkv_bytes_t bytes) {
    return {static_cast<const char *>(bytes.data), bytes.size};
}

/// A view as bytes of C.
inline slotkv_bytes_t bytes(std::string_view view) {
    return slotkv_bytes(view.data(), view.size());
}

/// How a call ended, and what it answered. It owns what its views point into.
class [[nodiscard]] Result {
public:
    Result() : raw_() {}
    explicit Result(const slotkv_result_t &raw) : raw_(raw) {}
    Result(Result &&other) noexcept : raw_(other.raw_) { other.raw_ = slotkv_result_t(); }
    Result &operator=(Result &&other) noexcept {
        std::swap(raw_, other.raw_);
        return *this;
    }
    Result(const Result &) = delete;
    Result &operator=(const Result &) = delete;
    ~Result() { slotkv_result_free(&raw_); }

    /// Whether the call succeeded. An unmet condition is a success.
    bool ok() const { return raw_.code == SLOTKV_CODE_OK; }
    explicit operator bool() const { return ok(); }
    Code code() const { return raw_.code; }

    /// What a write did.
    Status status() const { return raw_.status; }
    /// Whether get or has found the key.
    bool found() const { return raw_.status == SLOTKV_STATUS_FOUND; }
    bool created() const { return raw_.status == SLOTKV_STATUS_CREATED; }
    bool updated() const { return raw_.status == SLOTKV_STATUS_UPDATED; }
    bool deleted() const { return raw_.status == SLOTKV_STATUS_DELETED; }
    /// Whether the condition did not hold, so that nothing was changed.
    bool unmet() const { return raw_.status == SLOTKV_STATUS_UNMET; }

    std::uint64_t version() const { return raw_.version; }
    /// Of increment, count and slot.
    std::int64_t number() const { return raw_.number; }
    /// Of get: what is left of the key's lifetime; nothing if it lives for ever.
    std::optional<std::chrono::milliseconds> ttl() const {
        return raw_.ttl_ms == 0 ? std::nullopt : std::optional(std::chrono::milliseconds(raw_.ttl_ms));
    }
    /// Of outcome: whether the write was not applied and never will be.
    bool not_applied() const { return raw_.status == SLOTKV_STATUS_NOT_APPLIED; }
    /// Of outcome: whether nobody knows any more.
    bool forgotten() const { return raw_.status == SLOTKV_STATUS_FORGOTTEN; }
    /// Of get; of session_token.
    std::string_view value() const { return view(raw_.value); }
    /// Of get: a copy, or nothing if the key is absent.
    std::optional<std::string> text() const {
        return found() ? std::optional<std::string>(std::string(value())) : std::nullopt;
    }
    /// Where a scan goes on.
    std::string_view cursor() const { return view(raw_.cursor); }
    // Not of a result that is gone when the loop over them begins.
    Span<slotkv_item_t> items() const && = delete;
    Span<slotkv_result_t> results() const && = delete;
    Span<slotkv_item_t> items() const & { return {raw_.items, raw_.items_count}; }
    /// Of many keys, in their order.
    Span<slotkv_result_t> results() const & { return {raw_.results, raw_.results_count}; }
    /// More about why it failed; null if it did not.
    const slotkv_error_t *error() const { return raw_.error; }
    const slotkv_explanation_t *explanation() const { return raw_.explanation; }
    const slotkv_client_stats_t *stats() const { return raw_.stats; }
    const slotkv_cluster_t *cluster() const { return raw_.cluster; }
    const slotkv_result_t &raw() const { return raw_; }

    /// Where C writes a result to; what was here is freed.
    slotkv_result_t *out() {
        slotkv_result_free(&raw_);
        return &raw_;
    }

private:
    slotkv_result_t raw_;
};

#ifndef SLOTKV_NO_EXCEPTIONS
/// Why a call did not succeed.
class Error : public std::exception {
public:
    explicit Error(Result &&result) : result_(std::make_shared<Result>(std::move(result))) {
        const slotkv_error_t *error = result_->error();
        text_ = slotkv_code_name(result_->code());
        if (error != nullptr) {
            text_ += ": ";
            text_ += error->message;
        }
    }

    const char *what() const noexcept override { return text_.c_str(); }
    Code code() const { return result_->code(); }
    /// Whether the operation was applied.
    Outcome outcome() const {
        return result_->error() == nullptr ? SLOTKV_OUTCOME_UNKNOWN : result_->error()->outcome;
    }
    /// Whether the very same call may be repeated without thinking.
    bool retryable() const { return result_->error() != nullptr && result_->error()->retryable; }
    /// Of a write whose outcome is unknown: for Client::outcome. Else empty.
    std::string_view token() const {
        return result_->error() == nullptr ? std::string_view() : view(result_->error()->token);
    }
    /// All of it; of many keys with what became of each.
    const Result &result() const { return *result_; }

private:
    std::shared_ptr<Result> result_;
    std::string text_;
};
#endif

namespace detail {

inline Result checked(Result result) {
#ifndef SLOTKV_NO_EXCEPTIONS
    if (!result.ok()) {
        throw Error(std::move(result));
    }
#endif
    return result;
}

inline std::uint32_t milliseconds(std::chrono::milliseconds time) {
    return time.count() <= 0 ? 0 : static_cast<std::uint32_t>(time.count());
}

} // namespace detail

/// What a client may be told; what is left alone is the default.
struct ConnectOptions {
    /// Namespace of calls that name none.
    std::string namespace_name = {};
    /// The client's name, for people.
    std::string client_name = {};
    /// Time for a call that names none, up to 300 s; 5 s.
    std::chrono::milliseconds deadline{0};
    /// Time for connecting, and for one connection to a member, up to 300 s; 5 s.
    std::chrono::milliseconds connect_timeout{0};
    /// How often the master is pinged, up to 300 s; 300 ms.
    std::chrono::milliseconds ping_interval{0};
    /// Connections to each member, up to 16; 1.
    std::uint32_t streams_per_member = 0;
    /// Calls open at once; further ones wait. Up to 1048576; 16384.
    std::uint32_t inflight_max = 0;
    /// The first blocking call connects; for programs that use queues only.
    bool is_lazy = false;
    /// Where the client stands, by the name of a zone: reads that backups may answer go to those of the same zone, if there are any.
    std::string zone = {};

    slotkv_connect_options_t raw() const {
        slotkv_connect_options_t raw = slotkv_connect_options();
        raw.namespace_name = namespace_name.empty() ? nullptr : namespace_name.c_str();
        raw.client_name = client_name.empty() ? nullptr : client_name.c_str();
        raw.deadline_ms = detail::milliseconds(deadline);
        raw.connect_timeout_ms = detail::milliseconds(connect_timeout);
        raw.ping_interval_ms = detail::milliseconds(ping_interval);
        raw.streams_per_member = streams_per_member;
        raw.inflight_max = inflight_max;
        raw.is_lazy = is_lazy ? 1 : 0;
        raw.zone = zone.empty() ? nullptr : zone.c_str();
        return raw;
    }
};

/// What one call may say differently from its client.
struct CallOptions {
    /// Time for the call with all its attempts, up to 300 s; of a scan, for each page.
    std::chrono::milliseconds deadline{0};
    /// Namespace; "" for the one without a name.
    std::optional<std::string> namespace_name = {};
    /// W3C traceparent of the caller's span.
    std::string traceparent = {};
    /// How fresh the answer of a read has to be; linearizable.
    ReadLevel read_level = SLOTKV_READ_LEVEL_LINEARIZABLE;
    /// With SLOTKV_READ_LEVEL_BOUNDED: how old the answer may be, up to 300 s.
    std::chrono::milliseconds staleness{0};
    /// The same as session by a token, of session_token or seen here or elsewhere, to which the call adds nothing.
    std::optional<std::string> session_token = {};
    /// Lifetime of the key, for calls that store something, up to 315360000 s (ten years); 0: it lives for ever.
    std::chrono::milliseconds ttl{0};
    /// What a session's read may not be older than, raw() of a Session; the call adds what it writes and reads. 0: all that the
    /// client has seen.
    slotkv_session_t session = 0;

    slotkv_call_options_t raw() const {
        slotkv_call_options_t raw = slotkv_call_options();
        raw.deadline_ms = detail::milliseconds(deadline);
        raw.namespace_name = namespace_name ? namespace_name->c_str() : nullptr;
        raw.traceparent = traceparent.empty() ? nullptr : traceparent.c_str();
        raw.read_level = static_cast<std::uint32_t>(read_level);
        raw.staleness_ms = detail::milliseconds(staleness);
        if (session_token) {
            raw.session_token = bytes(*session_token);
        }
        raw.ttl_ms = static_cast<std::uint64_t>(ttl.count());
        raw.session = session;
        return raw;
    }
};

/// Which keys: those that begin with prefix, from start on, below end.
struct Range {
    /// What the keys begin with.
    std::string_view prefix = {};
    /// The first key.
    std::string_view start = {};
    /// Behind the last key.
    std::string_view end = {};
    /// In key order, which costs more; else in slot order.
    bool ordered = false;
    /// Without values.
    bool keys_only = false;
    /// Items in a page, up to 10000; 1000.
    std::uint32_t page_items = 0;

    slotkv_range_t raw() const {
        slotkv_range_t raw = slotkv_range();
        raw.prefix = bytes(prefix);
        raw.start = bytes(start);
        raw.end = bytes(end);
        raw.is_ordered = ordered ? 1 : 0;
        raw.keys_only = keys_only ? 1 : 0;
        raw.page_items = page_items;
        return raw;
    }
};

/// A scan under way: for (const slotkv_item_t &item : scan). An item lives until the next one.
class Scan {
public:
    explicit Scan(slotkv_scan_t scan) : scan_(scan) {}
    Scan(Scan &&other) noexcept
        : scan_(std::exchange(other.scan_, 0)), page_(std::move(other.page_)) {}
    Scan &operator=(Scan &&other) noexcept {
        std::swap(scan_, other.scan_);
        std::swap(page_, other.page_);
        return *this;
    }
    Scan(const Scan &) = delete;
    Scan &operator=(const Scan &) = delete;
    ~Scan() {
        if (scan_ != 0) {
            slotkv_scan_close(scan_, nullptr);
        }
    }

    /// The next item; null behind the last one, and after an error that is not thrown.
    const slotkv_item_t *next() {
        slotkv_scan_next(scan_, 1, page_.out());
        page_ = detail::checked(std::move(page_));
        return page_.items().empty() ? nullptr : page_.items().data();
    }

    /// How the last step ended.
    const Result &result() const { return page_; }

    /// Where the scan stands: for Client::scan, also of another process. Empty at the beginning.
    std::string cursor() {
        Result result;
        slotkv_scan_cursor(scan_, result.out());
        result = detail::checked(std::move(result));
        return std::string(result.cursor());
    }

    class Iterator {
    public:
        using iterator_category = std::input_iterator_tag;
        using value_type = slotkv_item_t;
        using difference_type = std::ptrdiff_t;
        using pointer = const slotkv_item_t *;
        using reference = const slotkv_item_t &;

        explicit Iterator(Scan *scan) : scan_(scan), item_(scan == nullptr ? nullptr : scan->next()) {}
        reference operator*() const { return *item_; }
        pointer operator->() const { return item_; }
        Iterator &operator++() {
            item_ = scan_->next();
            return *this;
        }
        bool operator==(const Iterator &other) const { return item_ == other.item_; }
        bool operator!=(const Iterator &other) const { return item_ != other.item_; }

    private:
        Scan *scan_;
        pointer item_;
    };

    Iterator begin() { return Iterator(this); }
    Iterator end() { return Iterator(nullptr); }

private:
    slotkv_scan_t scan_;
    Result page_;
};

/// A session of its own: reads of calls whose options have it are not older than what such calls have written and read.
class Session {
public:
    /// One that goes on where a token stands; without one, one that has seen nothing.
    explicit Session(std::string_view token = {}) {
        Result result;
        slotkv_session_open(bytes(token), &session_, result.out());
        opened_ = detail::checked(std::move(result));
    }
    Session(Session &&other) noexcept
        : session_(std::exchange(other.session_, 0)), opened_(std::move(other.opened_)) {}
    Session &operator=(Session &&other) noexcept {
        std::swap(session_, other.session_);
        std::swap(opened_, other.opened_);
        return *this;
    }
    Session(const Session &) = delete;
    Session &operator=(const Session &) = delete;
    ~Session() {
        if (session_ != 0) {
            slotkv_session_close(session_, nullptr);
        }
    }

    /// How opening ended; for programs without exceptions.
    const Result &opened() const { return opened_; }

    /// What it has seen: for another Session, here or elsewhere.
    std::string seen() const {
        Result result;
        slotkv_session_seen(session_, result.out());
        result = detail::checked(std::move(result));
        return std::string(result.value());
    }

    slotkv_session_t raw() const { return session_; }

private:
    slotkv_session_t session_ = 0;
    Result opened_;
};

/// A connection to a cluster, for blocking calls from any number of threads.
class Client {
public:
    /// A client that is not connected.
    Client() = default;
#ifndef SLOTKV_NO_EXCEPTIONS
    explicit Client(const std::string &uri, const ConnectOptions &options = {}) { (void)connect(uri, options); }
#endif
    Client(Client &&other) noexcept : client_(std::exchange(other.client_, 0)) {}
    Client &operator=(Client &&other) noexcept {
        std::swap(client_, other.client_);
        return *this;
    }
    Client(const Client &) = delete;
    Client &operator=(const Client &) = delete;
    ~Client() {
        if (client_ != 0) {
            slotkv_close(client_, nullptr);
        }
    }

    /// Connects to a cluster; what it was connected to is closed.
    Result connect(const std::string &uri, const ConnectOptions &options = {}) {
        close();
        slotkv_connect_options_t raw = options.raw();
        Result result;
        slotkv_connect(SLOTKV_ABI_VERSION, uri.c_str(), &raw, &client_, result.out());
        return detail::checked(std::move(result));
    }

    /// Ends the client: open calls and the connections, in bounded time.
    void close() {
        if (client_ != 0) {
            slotkv_close(std::exchange(client_, 0), nullptr);
        }
    }

    slotkv_client_t raw() const { return client_; }

    /// The value of a key.
    Result get(std::string_view key, const CallOptions &options = {}) {
        return call(options, [&](auto *raw, auto *out) { slotkv_get(client_, bytes(key), raw, out); });
    }
    /// Whether a key exists.
    Result has(std::string_view key, const CallOptions &options = {}) {
        return call(options, [&](auto *raw, auto *out) { slotkv_has(client_, bytes(key), raw, out); });
    }
    /// Stores a value.
    Result put(std::string_view key, std::string_view value, const CallOptions &options = {}) {
        return call(options,
                    [&](auto *raw, auto *out) { slotkv_put(client_, bytes(key), bytes(value), raw, out); });
    }
    /// Stores a value if the key is absent; else the result is unmet, with the key's version.
    Result put_if_absent(std::string_view key, std::string_view value, const CallOptions &options = {}) {
        return call(options, [&](auto *raw, auto *out) {
            slotkv_put_if_absent(client_, bytes(key), bytes(value), raw, out);
        });
    }
    /// Stores a value if the key exists; else the result is unmet.
    Result update_if_present(std::string_view key, std::string_view value, const CallOptions &options = {}) {
        return call(options, [&](auto *raw, auto *out) {
            slotkv_update_if_present(client_, bytes(key), bytes(value), raw, out);
        });
    }
    /// Stores a value if the key exists in version; else the result is unmet, with the key's version.
    Result compare_and_set(std::string_view key, std::string_view value, std::uint64_t version,
                           const CallOptions &options = {}) {
        return call(options, [&](auto *raw, auto *out) {
            slotkv_compare_and_set(client_, bytes(key), bytes(value), version, raw, out);
        });
    }
    /// Gives a key that exists a new lifetime, from now on; its value stays. Else the result is unmet.
    Result expire(std::string_view key, std::chrono::milliseconds ttl, const CallOptions &options = {}) {
        return call(options, [&](auto *raw, auto *out) {
            slotkv_expire(client_, bytes(key), static_cast<std::uint64_t>(ttl.count()), raw, out);
        });
    }
    /// Lets a key that exists live for ever; its value stays. Else the result is unmet.
    Result persist(std::string_view key, const CallOptions &options = {}) {
        return call(options, [&](auto *raw, auto *out) { slotkv_persist(client_, bytes(key), raw, out); });
    }
    /// Removes a key. delete is a word of the language.
    Result remove(std::string_view key, const CallOptions &options = {}) {
        return call(options, [&](auto *raw, auto *out) { slotkv_delete(client_, bytes(key), raw, out); });
    }
    /// Removes a key if it exists in version; else the result is unmet, with the key's version.
    Result remove_if_version(std::string_view key, std::uint64_t version, const CallOptions &options = {}) {
        return call(options, [&](auto *raw, auto *out) {
            slotkv_delete_if_version(client_, bytes(key), version, raw, out);
        });
    }
    /// Adds to a decimal number of 64 bits: number is the sum. An absent key counts as 0.
    /// Codes: NOT_A_NUMBER, OVERFLOW; then nothing was changed.
    Result increment(std::string_view key, std::int64_t delta = 1, const CallOptions &options = {}) {
        return call(options,
                    [&](auto *raw, auto *out) { slotkv_increment(client_, bytes(key), delta, raw, out); });
    }

    /// What came of a write whose outcome is unknown, by the token of its Error: status, version, and of an increment number.
    Result outcome(std::string_view token, const CallOptions &options = {}) {
        return call(options, [&](auto *raw, auto *out) { slotkv_outcome(client_, bytes(token), raw, out); });
    }

    /// The values of many keys: results, in their order. Keys are anything that std::string_view is made of.
    template <typename Keys>
    Result get_many(const Keys &keys, const CallOptions &options = {}) {
        std::vector<slotkv_bytes_t> all = all_of(keys);
        return call(options, [&](auto *raw, auto *out) {
            slotkv_get_many(client_, all.data(), all.size(), raw, out);
        });
    }
    /// Stores many values, given as pairs of key and value: results, in their order.
    template <typename Pairs>
    Result put_many(const Pairs &pairs, const CallOptions &options = {}) {
        std::vector<slotkv_pair_t> all;
        for (const auto &[key, value] : pairs) {
            all.push_back({bytes(key), bytes(value)});
        }
        return call(options, [&](auto *raw, auto *out) {
            slotkv_put_many(client_, all.data(), all.size(), raw, out);
        });
    }
    /// Removes many keys: results, in their order.
    template <typename Keys>
    Result remove_many(const Keys &keys, const CallOptions &options = {}) {
        std::vector<slotkv_bytes_t> all = all_of(keys);
        return call(options, [&](auto *raw, auto *out) {
            slotkv_delete_many(client_, all.data(), all.size(), raw, out);
        });
    }

    /// How many keys a range has: number.
    Result count(const Range &range = {}, const CallOptions &options = {}) {
        slotkv_range_t raw_range = range.raw();
        return call(options, [&](auto *raw, auto *out) { slotkv_count(client_, &raw_range, raw, out); });
    }
    /// Every item of a range, in key order: items. For debugging: they have to fit into memory.
    Result dump(const Range &range = {}, const CallOptions &options = {}) {
        slotkv_range_t raw_range = range.raw();
        return call(options, [&](auto *raw, auto *out) { slotkv_dump(client_, &raw_range, raw, out); });
    }
    /// Begins a scan of a range, from its beginning or from a cursor on.
    Scan scan(const Range &range = {}, std::string_view cursor = {}, const CallOptions &options = {}) {
        slotkv_range_t raw_range = range.raw();
        slotkv_scan_t scan = 0;
        slotkv_bytes_t from = cursor.empty() ? slotkv_bytes(nullptr, 0) : bytes(cursor);
        (void)call(options,
                   [&](auto *raw, auto *out) { slotkv_scan(client_, &raw_range, from, raw, &scan, out); });
        return Scan(scan);
    }
    /// What a master says of the whole cluster: cluster.
    Result status(const CallOptions &options = {}) {
        return call(options, [&](auto *raw, auto *out) { slotkv_status(client_, raw, out); });
    }
    /// The slot of a key: number.
    Result slot(std::string_view key) {
        return call({}, [&](auto *, auto *out) { slotkv_slot(client_, bytes(key), out); });
    }
    /// Where calls for a key go, and why: explanation.
    Result explain(std::string_view key) {
        return call({}, [&](auto *, auto *out) { slotkv_explain(client_, bytes(key), out); });
    }
    /// What the session has seen, which is all that this client's calls have: value.
    Result session_token() {
        return call({}, [&](auto *, auto *out) { slotkv_session_token(client_, out); });
    }
    /// What this client has done so far, and its state now: stats.
    Result stats() {
        return call({}, [&](auto *, auto *out) { slotkv_stats(client_, out); });
    }

private:
    template <typename Call>
    Result call(const CallOptions &options, Call &&call) {
        slotkv_call_options_t raw = options.raw();
        Result result;
        call(&raw, result.out());
        return detail::checked(std::move(result));
    }

    template <typename Keys>
    static std::vector<slotkv_bytes_t> all_of(const Keys &keys) {
        std::vector<slotkv_bytes_t> all;
        for (const auto &key : keys) {
            all.push_back(bytes(key));
        }
        return all;
    }

    slotkv_client_t client_ = 0;
};

/// An operation for a queue. Its views are read when it is submitted.
class Operation {
public:
    static Operation get(std::string_view key) { return Operation(SLOTKV_OPERATION_KIND_GET, key); }
    static Operation has(std::string_view key) { return Operation(SLOTKV_OPERATION_KIND_HAS, key); }
    static Operation put(std::string_view key, std::string_view value) {
        Operation operation(SLOTKV_OPERATION_KIND_PUT, key);
        operation.raw_.value = bytes(value);
        return operation;
    }
    /// The lifetime stands in the options; without one the key lives for ever.
    static Operation expire(std::string_view key) { return Operation(SLOTKV_OPERATION_KIND_EXPIRE, key); }
    static Operation remove(std::string_view key) { return Operation(SLOTKV_OPERATION_KIND_DELETE, key); }
    static Operation increment(std::string_view key, std::int64_t delta = 1) {
        Operation operation(SLOTKV_OPERATION_KIND_INCREMENT, key);
        operation.raw_.delta = delta;
        return operation;
    }

    /// The same, if the key is absent.
    Operation if_absent() const { return with(SLOTKV_CONDITION_ABSENT, 0); }
    /// The same, if the key exists.
    Operation if_present() const { return with(SLOTKV_CONDITION_PRESENT, 0); }
    /// The same, if the key exists in this version.
    Operation if_version(std::uint64_t version) const { return with(SLOTKV_CONDITION_VERSION, version); }

    slotkv_operation_t raw() const { return raw_; }

private:
    Operation(slotkv_operation_kind_t kind, std::string_view key) : raw_(slotkv_operation(kind)) {
        raw_.key = bytes(key);
    }
    Operation with(slotkv_condition_t condition, std::uint64_t version) const {
        Operation operation = *this;
        operation.raw_.condition = static_cast<std::uint32_t>(condition);
        operation.raw_.version = version;
        return operation;
    }

    slotkv_operation_t raw_;
};

/// Calls that do not wait: each gives a future. A queue has connections of its own.
class Queue {
public:
    explicit Queue(const Client &client) {
        Result result;
        slotkv_queue_open(client.raw(), &Queue::complete, nullptr, &queue_, result.out());
        opened_ = detail::checked(std::move(result));
    }
    Queue(const Queue &) = delete;
    Queue &operator=(const Queue &) = delete;
    /// Open operations end first, with SLOTKV_CODE_CLOSED.
    ~Queue() {
        if (queue_ != 0) {
            slotkv_queue_close(queue_, nullptr);
        }
    }

    /// How opening ended; for programs without exceptions.
    const Result &opened() const { return opened_; }

    /// Begins an operation. Its future has the result or throws its Error.
    std::future<Result> submit(const Operation &operation, const CallOptions &options = {}) {
        std::vector<std::future<Result>> futures = submit_many({operation}, options);
        return std::move(futures.front());
    }

    /// Begins operations, all in one batch.
    std::vector<std::future<Result>> submit_many(const std::vector<Operation> &operations,
                                                 const CallOptions &options = {}) {
        slotkv_call_options_t raw_options = options.raw();
        std::vector<std::unique_ptr<std::promise<Result>>> promises;
        std::vector<std::future<Result>> futures;
        std::vector<slotkv_operation_t> raw;
        for (const Operation &operation : operations) {
            promises.push_back(std::make_unique<std::promise<Result>>());
            futures.push_back(promises.back()->get_future());
            raw.push_back(operation.raw());
            raw.back().options = &raw_options;
            raw.back().context = promises.back().get();
        }
        std::size_t begun = 0;
        Result result;
        slotkv_queue_submit(queue_, raw.data(), raw.size(), nullptr, &begun, result.out());
        const Code code = result.code();
        // Those that were begun are the callback's now.
        for (std::size_t at = 0; at < promises.size(); at++) {
            if (at < begun) {
                (void)promises[at].release();
            } else {
                slotkv_result_t refused = slotkv_result_t();
                refused.code = code;
                fulfil(*promises[at], at == begun ? std::move(result) : Result(refused));
            }
        }
        return futures;
    }

    slotkv_queue_t raw() const { return queue_; }

private:
    /* Nothing may be thrown through the library. */
    static void complete(void *, slotkv_completion_t *completions, std::size_t count) noexcept {
        for (std::size_t at = 0; at < count; at++) {
            std::unique_ptr<std::promise<Result>> promise(
                static_cast<std::promise<Result> *>(completions[at].context));
            fulfil(*promise, Result(completions[at].result));
        }
    }

    static void fulfil(std::promise<Result> &promise, Result &&result) {
#ifndef SLOTKV_NO_EXCEPTIONS
        if (!result.ok()) {
            promise.set_exception(std::make_exception_ptr(Error(std::move(result))));
            return;
        }
#endif
        promise.set_value(std::move(result));
    }

    slotkv_queue_t queue_ = 0;
    Result opened_;
};

} // namespace slotkv

#endif
