package slotkv

// #include <slotkv.h>
import "C"

import (
	"context"
	"unsafe"
)

// ClusterStatus is what a master says of the whole cluster.
type ClusterStatus struct {
	// ClusterID is which cluster.
	ClusterID string
	// SlotCount is how many slots it has.
	SlotCount uint32
	// TableVersion is the version of the slot table.
	TableVersion uint64
	// MasterEpoch is the epoch of the leading master.
	MasterEpoch uint64
	// Masters are the masters.
	Masters []MasterStatus
	// Shards are the shards.
	Shards []ShardStatus
	// Members are the members.
	Members []MemberStatus
	// Notices are sentences for people.
	Notices []string
	// ShardsAnnounced are shards whose registration the first allocation waits for.
	ShardsAnnounced uint32
}

// MasterStatus is a master.
type MasterStatus struct {
	// Address is host:port.
	Address string
	// Leader is whether it leads.
	Leader bool
}

// ShardStatus is a shard.
type ShardStatus struct {
	// Shard is its number.
	Shard uint32
	// Epoch is its epoch.
	Epoch uint64
	// State is a word or two for people.
	State string
	// Primary is the name of its primary; empty if it has none.
	Primary string
	// ISR are the names of the replicas in sync.
	ISR []string
	// Ack is "one" or "all".
	Ack string
	// MinISR are the replicas that must be in sync for writes.
	MinISR uint32
	// Durability is "sync" or "interval(ms)".
	Durability string
	// Weight is its weight.
	Weight float64
	// Slots is how many slots it owns.
	Slots uint32
	// Replicas is how many copies there shall be, the primary's included.
	Replicas uint32
	// Preferred is who shall lead when it can; empty: whoever does.
	Preferred string
	// Reason is why it is not as it should be, in words for people; empty if it is.
	Reason string
	// LossEpoch is the last epoch that began although acknowledged writes may have been lost; 0: none did.
	LossEpoch uint64
	// Recover is the name/incarnation of the replica that an operator has chosen to go on alone, until it does; else empty.
	Recover string
	// Copies are every replica that is in sync, lives or was ever seen.
	Copies []ReplicaStatus
}

// ReplicaStatus is a copy of a shard. Its counts are of its process since that began.
type ReplicaStatus struct {
	// Name is its name.
	Name string
	// State is "leader", "in sync", "catching up", "read-only" and why, "gone" or "left".
	State string
	// SinceMs is since when, in milliseconds since 1970 by its own clock; 0: not known.
	SinceMs uint64
	// Live is whether it is registered now.
	Live bool
	// InISR is whether the shard counts it as in sync, with the data that it has now.
	InISR bool
	// Address is host:port.
	Address string
	// Zone is where it stands.
	Zone string
	// Trouble is what is wrong with its data, in words for people; may be empty.
	Trouble string
	// Checks are the times that its process has compared its data with that of others, at one record of the log.
	Checks uint64
	// Different are copies, its own included, that it found to differ while it led.
	Different uint64
	// RottenSlots are slots of its own whose rows were not what was written.
	RottenSlots uint64
	// CopiesBegun are full copies that it has begun to receive.
	CopiesBegun uint64
	// CopiesInstalled are full copies that have taken the place of its data.
	CopiesInstalled uint64
	// Restarts are the times that it was begun anew within its process.
	Restarts uint64
}

// MemberStatus is a process of the cluster.
type MemberStatus struct {
	// Name is its name.
	Name string
	// Run is new at each of its starts.
	Run string
	// Address is host:port.
	Address string
	// Shard is the shard it serves.
	Shard uint32
	// Live is whether it is registered now.
	Live bool
	// Zone is where it stands.
	Zone string
}

// Status is what a master says of the whole cluster: who leads, and how every copy of every shard is.
func (c *Client) Status(ctx context.Context) (ClusterStatus, error) {
	reply, err := c.one(ctx, operation{kind: kindStatus})
	if err != nil || reply.cluster == nil {
		return ClusterStatus{}, err
	}
	return *reply.cluster, nil
}

// clusterOf copies a cluster's state of the C library's; nil for NULL.
func clusterOf(its *C.slotkv_cluster_t) *ClusterStatus {
	if its == nil {
		return nil
	}
	made := &ClusterStatus{
		ClusterID:       C.GoString(its.cluster_id),
		SlotCount:       uint32(its.slot_count),
		TableVersion:    uint64(its.table_version),
		MasterEpoch:     uint64(its.master_epoch),
		Notices:         textsOf(its.notices, its.notices_count),
		ShardsAnnounced: uint32(its.shards_announced),
	}
	for _, master := range unsafe.Slice(its.masters, its.masters_count) {
		made.Masters = append(made.Masters, MasterStatus{C.GoString(master.address), bool(master.leader)})
	}
	for _, shard := range unsafe.Slice(its.shards, its.shards_count) {
		made.Shards = append(made.Shards, shardOf(&shard))
	}
	for _, member := range unsafe.Slice(its.members, its.members_count) {
		made.Members = append(made.Members, MemberStatus{
			Name:    C.GoString(member.name),
			Run:     C.GoString(member.run),
			Address: C.GoString(member.address),
			Shard:   uint32(member.shard),
			Live:    bool(member.live),
			Zone:    C.GoString(member.zone),
		})
	}
	return made
}

func shardOf(its *C.slotkv_shard_t) ShardStatus {
	made := ShardStatus{
		Shard:      uint32(its.shard),
		Epoch:      uint64(its.epoch),
		State:      C.GoString(its.state),
		Primary:    C.GoString(its.primary),
		ISR:        textsOf(its.isr, its.isr_count),
		Ack:        C.GoString(its.ack),
		MinISR:     uint32(its.min_isr),
		Durability: C.GoString(its.durability),
		Weight:     float64(its.weight),
		Slots:      uint32(its.slots),
		Replicas:   uint32(its.replicas),
		Preferred:  C.GoString(its.preferred),
		Reason:     C.GoString(its.reason),
		LossEpoch:  uint64(its.loss_epoch),
		Recover:    C.GoString(its.recover),
	}
	for _, held := range unsafe.Slice(its.copies, its.copies_count) {
		made.Copies = append(made.Copies, ReplicaStatus{
			Name:            C.GoString(held.name),
			State:           C.GoString(held.state),
			SinceMs:         uint64(held.since_ms),
			Live:            bool(held.live),
			InISR:           bool(held.in_isr),
			Address:         C.GoString(held.address),
			Zone:            C.GoString(held.zone),
			Trouble:         C.GoString(held.trouble),
			Checks:          uint64(held.checks),
			Different:       uint64(held.different),
			RottenSlots:     uint64(held.rotten_slots),
			CopiesBegun:     uint64(held.copies_begun),
			CopiesInstalled: uint64(held.copies_installed),
			Restarts:        uint64(held.restarts),
		})
	}
	return made
}

// textsOf copies texts; nil if there are none.
func textsOf(texts **C.char, count C.size_t) []string {
	var made []string
	for _, text := range unsafe.Slice(texts, count) {
		made = append(made, C.GoString(text))
	}
	return made
}
