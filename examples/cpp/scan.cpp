/* c++ -std=c++17 examples/cpp/scan.cpp $(pkg-config --cflags --libs slotkv) -o scan && ./scan [URI]
 *
 * Keys by prefix, in slot order (cheap) and in key order (merged), and going on from a cursor. */

#include "example.hpp"

#include <algorithm>
#include <vector>

static std::string numbered(const char *kind, int number) {
    char name[32];
    std::snprintf(name, sizeof name, "%s/%04d", kind, number);
    return name;
}

int main(int count, char **arguments) {
    slotkv::Client client = connected(count, arguments, "example-scan");
    std::vector<std::string> people, all;
    std::vector<std::pair<std::string, std::string>> records;
    for (int number = 0; number < 600; number++) {
        all.push_back(number < 500 ? numbered("people", number) : numbered("places", number - 500));
        records.emplace_back(all.back(), all.back());
    }
    people.assign(all.begin(), all.begin() + 500);
    (void)client.put_many(records);

    // Slot order: every key once, whatever is written meanwhile.
    slotkv::Range range;
    range.prefix = "people/";
    EXPECT(client.count(range).number() == 500);
    std::vector<std::string> found;
    slotkv::Scan scan = client.scan(range);
    while (found.size() < 200) {
        found.emplace_back(slotkv::view(scan.next()->key));
    }

    // A cursor is plain bytes: another process, also in another language, can go on from it.
    for (const slotkv_item_t &item : client.scan(range, scan.cursor())) {
        found.emplace_back(slotkv::view(item.key));
    }
    std::sort(found.begin(), found.end());
    EXPECT(found == people);

    // Key order, keys alone.
    slotkv::Range across;
    across.start = "people/0490";
    across.end = "places/0010";
    across.ordered = across.keys_only = true;
    std::vector<std::string> keys;
    for (const slotkv_item_t &item : client.scan(across)) {
        keys.emplace_back(slotkv::view(item.key));
    }
    EXPECT(keys == std::vector<std::string>(all.begin() + 490, all.begin() + 510));

    (void)client.remove_many(all);
    std::printf("scan: %zu keys in two parts, %zu in key order\n", found.size(), keys.size());
}
