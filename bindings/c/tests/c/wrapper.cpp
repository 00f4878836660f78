/* The tests of the C++ header: wrapper URI. Compiled with exceptions and without. */

#include <slotkv.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <thread>

#define CHECK(condition)                                                                   \
    do {                                                                                   \
        if (!(condition)) {                                                                \
            std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);   \
            std::exit(1);                                                                  \
        }                                                                                  \
    } while (0)

using namespace std::string_literals;

static void keys_are_put_got_and_removed(slotkv::Client &client) {
    (void)client.remove("cpp/key");
    CHECK(client.put("cpp/key", "one").created());
    slotkv::Result entry = client.get("cpp/key");
    CHECK(entry.found() && entry.value() == "one" && entry.text() == "one"s);
    CHECK(client.compare_and_set("cpp/key", "two", entry.version() + 1000).unmet());
    CHECK(client.compare_and_set("cpp/key", "two", entry.version()).updated());
    CHECK(client.put_if_absent("cpp/key", "x").unmet());
    CHECK(client.has("cpp/key").found());
    CHECK(client.remove("cpp/key").deleted());
    CHECK(!client.get("cpp/key").text());
    (void)client.remove("cpp/number");
    CHECK(client.increment("cpp/number", 41).number() == 41);
    CHECK(client.increment("cpp/number").number() == 42);
    slotkv::Result moved = std::move(entry);
    CHECK(moved.value() == "one");
}

static void many_keys_and_scans(slotkv::Client &client) {
    std::map<std::string, std::string> pairs;
    std::vector<std::string> keys;
    for (int number = 0; number < 50; number++) {
        keys.push_back("cpp/many/" + std::to_string(100 + number));
        pairs[keys.back()] = std::to_string(number);
    }
    slotkv::Result puts = client.put_many(pairs);
    CHECK(puts.results().size() == 50);
    slotkv::Result values = client.get_many(keys);
    for (std::size_t at = 0; at < keys.size(); at++) {
        CHECK(slotkv::view(values.results()[at].value) == pairs[keys[at]]);
    }
    slotkv::Range range;
    range.prefix = "cpp/many/";
    range.ordered = true;
    CHECK(client.count(range).number() == 50);
    slotkv::Scan scan = client.scan(range);
    std::vector<std::string> found;
    for (const slotkv_item_t &item : scan) {
        found.emplace_back(slotkv::view(item.key));
        if (found.size() == 20) {
            break;
        }
    }
    std::string cursor = scan.cursor();
    CHECK(!cursor.empty());
    for (const slotkv_item_t &item : client.scan(range, cursor)) {
        found.emplace_back(slotkv::view(item.key));
    }
    CHECK(found == keys);
    slotkv::Result removals = client.remove_many(keys);
    CHECK(removals.results().size() == 50);
    slotkv::Result rest = client.dump(range);
    CHECK(rest.items().empty());
}

static void lifetimes_are_milliseconds(slotkv::Client &client) {
    slotkv::CallOptions hour;
    hour.ttl = std::chrono::hours(1);
    CHECK(client.put("cpp/lasting", "1", hour).ok());
    slotkv::Result entry = client.get("cpp/lasting");
    CHECK(entry.ttl() && *entry.ttl() > std::chrono::minutes(58) && *entry.ttl() <= std::chrono::hours(1));
    CHECK(client.persist("cpp/lasting").updated());
    CHECK(!client.get("cpp/lasting").ttl());
    CHECK(client.expire("cpp/lasting", std::chrono::milliseconds(20)).updated());
    while ((entry = client.get("cpp/lasting")).found()) {
        std::this_thread::sleep_for(entry.ttl().value_or(std::chrono::milliseconds(0)));
    }
    CHECK(client.persist("cpp/lasting").unmet());
}

static void a_session_goes_on_where_its_token_stands(slotkv::Client &client) {
    slotkv::Session session;
    CHECK(session.opened().ok());
    const std::string nothing = session.seen();
    slotkv::CallOptions own;
    own.session = session.raw();
    CHECK(client.put("cpp/session", "1", own).ok());
    CHECK(session.seen() != nothing);
    slotkv::Session other(session.seen());
    slotkv::Session moved = std::move(other);
    CHECK(moved.seen() == session.seen());
    own.session = moved.raw();
    own.read_level = SLOTKV_READ_LEVEL_SESSION;
    CHECK(client.get("cpp/session", own).value() == "1");
}

static void futures_come_true(slotkv::Client &client) {
    slotkv::Queue queue(client);
    CHECK(queue.opened().ok());
    std::vector<slotkv::Operation> operations(100, slotkv::Operation::increment("cpp/future"));
    std::int64_t largest = 0;
    (void)client.remove("cpp/future");
    for (std::future<slotkv::Result> &sum : queue.submit_many(operations)) {
        largest = std::max(largest, sum.get().number());
    }
    CHECK(largest == 100);
    CHECK(queue.submit(slotkv::Operation::put("cpp/future", "x").if_absent()).get().unmet());
    std::future<slotkv::Result> left_behind = queue.submit(slotkv::Operation::get("cpp/future"));
    (void)left_behind;
}

static void a_failure_says_why(slotkv::Client &client) {
    slotkv::CallOptions options;
    options.namespace_name = std::string(200, 'n');
    std::string large(40000, 'x');
#ifdef SLOTKV_NO_EXCEPTIONS
    slotkv::Result result = client.get("k", options);
    CHECK(!result && result.code() == SLOTKV_CODE_TOO_LARGE && result.error() != nullptr);
    slotkv::Queue queue(client);
    CHECK(queue.submit(slotkv::Operation::get(large)).get().code() == SLOTKV_CODE_TOO_LARGE);
    slotkv::Client nobody;
    CHECK(nobody.get("k").code() == SLOTKV_CODE_INVALID_ARGUMENT);
    CHECK(nobody.scan().next() == nullptr);
#else
    int caught = 0;
    try {
        (void)client.get("k", options);
    } catch (const slotkv::Error &error) {
        CHECK(error.code() == SLOTKV_CODE_TOO_LARGE && error.outcome() == SLOTKV_OUTCOME_FAILED);
        CHECK(!error.retryable() && std::string(error.what()).find("TOO_LARGE: ") == 0);
        caught++;
    }
    try {
        (void)client.put_many(std::vector<std::pair<std::string, std::string>>{{"cpp/a", "1"}, {large, "2"}});
    } catch (const slotkv::Error &error) {
        CHECK(error.result().results()[0].code == SLOTKV_CODE_OK);
        CHECK(error.result().results()[1].code == SLOTKV_CODE_TOO_LARGE);
        caught++;
    }
    slotkv::Queue queue(client);
    std::future<slotkv::Result> future = queue.submit(slotkv::Operation::get(large));
    try {
        (void)future.get();
    } catch (const slotkv::Error &error) {
        CHECK(error.code() == SLOTKV_CODE_TOO_LARGE);
        caught++;
    }
    try {
        slotkv::Client nobody("redis://127.0.0.1:1");
    } catch (const slotkv::Error &error) {
        CHECK(error.code() == SLOTKV_CODE_INVALID_ARGUMENT);
        caught++;
    }
    CHECK(caught == 4);
#endif
}

static void a_client_tells_about_itself(slotkv::Client &client) {
    CHECK(client.explain("foo").explanation()->hash_slot == 12182);
    CHECK(client.stats().stats()->calls > 0);
    CHECK(client.status().cluster()->shards_count > 0);
    CHECK(client.slot("foo").number() == client.explain("foo").explanation()->slot);
}

int main(int count, char **arguments) {
    if (count != 2) {
        std::fprintf(stderr, "usage: wrapper URI\n");
        return 2;
    }
    slotkv::ConnectOptions options;
    options.client_name = "wrapper";
    slotkv::Client client;
    slotkv::Result connected = client.connect(arguments[1], options);
    CHECK(connected.ok());
    keys_are_put_got_and_removed(client);
    many_keys_and_scans(client);
    lifetimes_are_milliseconds(client);
    a_session_goes_on_where_its_token_stands(client);
    futures_come_true(client);
    a_failure_says_why(client);
    a_client_tells_about_itself(client);
    std::printf("6 passed\n");
    return 0;
}
