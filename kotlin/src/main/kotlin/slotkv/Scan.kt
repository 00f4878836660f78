package slotkv

import java.util.concurrent.atomic.AtomicBoolean
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.FlowCollector
import slotkv.ffi.Client as NativeClient
import slotkv.ffi.Range

/**
 * The items of a scan, made by [Client.scan]. Collecting gives them one by one and fetches them page by page. Collected
 * again, also after an error, it goes on where it stood; one collector at a time.
 */
class Scan internal constructor(
    private val native: NativeClient,
    private val range: Range,
    private val begin: ByteArray?,
    private val limit: Long?,
    private val deadline: java.time.Duration?,
) : Flow<Item> {
    private val isCollected = AtomicBoolean()
    private var given = 0L
    private var stand: Stand? = null

    private class Stand(val scan: slotkv.ffi.Scan, val item: Item)

    /**
     * Where the scan stands, behind the last item it gave: for another scan of the same range, also in another process or
     * language. null if it gave none and began at the beginning.
     */
    val cursor: ByteArray?
        get() = stand?.let { told { it.scan.cursorBehind(it.item.key, it.item.slot) } } ?: begin

    override suspend fun collect(collector: FlowCollector<Item>) {
        check(isCollected.compareAndSet(false, true)) { "the scan has a collector already" }
        try {
            val left = limit?.let { (it - given).toULong() }
            val scan = told { native.scan(range, cursor, left, deadline) }
            while (true) {
                val page = awaited { scan.nextPage() }
                if (page.isEmpty()) return
                for (item in page) {
                    // Before it is given: a collector that has enough does not come back.
                    given += 1
                    stand = Stand(scan, item)
                    collector.emit(item)
                }
            }
        } finally {
            isCollected.set(false)
        }
    }
}
