//! The tree itself, as a value: transactions take one tree and give the next, or an error and no change.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::{
    coordinator::{Expect, Node, Op, OpResult, SessionId},
    error::Error,
    paths,
};

/// A node as the tree keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub data: Bytes,
    pub version: u64,
    pub owner: Option<SessionId>,
    /// Children ever created: the number of the next sequential one.
    pub counter: u64,
}

impl Stored {
    fn new(data: Bytes, owner: Option<SessionId>) -> Self {
        Self { data, version: 0, owner, counter: 0 }
    }
}

/// What a transaction did.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub results: Vec<OpResult>,
    /// Nodes created, set or deleted.
    pub paths: BTreeSet<String>,
    /// Something changed that outlives every session.
    pub durable: bool,
}

/// Every node, by path. The root always exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tree {
    nodes: BTreeMap<String, Stored>,
}

impl Tree {
    pub fn new() -> Self {
        Self { nodes: BTreeMap::from([("/".into(), Stored::new(Bytes::new(), None))]) }
    }

    /// The tree of these nodes; `None` if one lacks its parent.
    pub fn from_nodes(nodes: BTreeMap<String, Stored>) -> Option<Self> {
        let rooted =
            nodes.keys().all(|path| paths::parent(path).is_none_or(|parent| nodes.contains_key(parent)));
        (rooted && nodes.contains_key("/")).then_some(Self { nodes })
    }

    pub fn nodes(&self) -> impl Iterator<Item = (&str, &Stored)> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node))
    }

    pub fn get(&self, path: &str) -> Option<Node> {
        let node = self.nodes.get(path)?;
        Some(Node { data: node.data.clone(), version: node.version, owner: node.owner })
    }

    pub fn children(&self, path: &str) -> Vec<String> {
        let first = if path == "/" { "/".to_owned() } else { format!("{path}/") };
        self.nodes
            .range(first.clone()..)
            .map(|(child, _)| child)
            .take_while(|child| child.starts_with(&first))
            .filter(|child| paths::parent(child) == Some(path))
            .map(|child| child[first.len()..].to_owned())
            .collect()
    }

    /// All operations, or the error of the first that fails.
    pub fn transact(&self, session: SessionId, ops: &[Op]) -> Result<(Tree, Changes), Error> {
        let mut tree = self.clone();
        let mut changes = Changes::default();
        for op in ops {
            let result = tree.apply(session, op, &mut changes)?;
            changes.results.push(result);
        }
        Ok((tree, changes))
    }

    /// Deletes every node of `session`.
    pub fn expire(&self, session: SessionId) -> (Tree, Changes) {
        let mut tree = self.clone();
        let mut changes = Changes::default();
        tree.nodes.retain(|path, node| {
            let stays = node.owner != Some(session);
            if !stays {
                changes.paths.insert(path.clone());
            }
            stays
        });
        (tree, changes)
    }

    fn apply(&mut self, session: SessionId, op: &Op, changes: &mut Changes) -> Result<OpResult, Error> {
        match op {
            Op::Check { path, version } => {
                self.expect(path, Expect::Version(*version))?;
                Ok(OpResult::Checked)
            }
            Op::Create { path, data, mode } => {
                let owner = mode.is_ephemeral().then_some(session);
                let parent = paths::parent(path).unwrap_or("/");
                self.make(parent, changes).map_err(|_| no_children(path))?;
                let siblings = self.nodes.get(parent).map_or(0, |node| node.counter);
                let path = if mode.is_sequential() { format!("{path}{siblings:010}") } else { path.clone() };
                self.insert(&path, parent, Stored::new(data.clone(), owner))?;
                // The counter outlives an ephemeral child: its number is never given again.
                changes.durable |= owner.is_none() || mode.is_sequential();
                changes.paths.insert(path.clone());
                Ok(OpResult::Created(path))
            }
            Op::Set { path, data, expect } => {
                let node = self.expect(path, *expect)?;
                node.data = data.clone();
                node.version += 1;
                changes.durable |= node.owner.is_none();
                let version = node.version;
                changes.paths.insert(path.clone());
                Ok(OpResult::Set(version))
            }
            Op::Delete { path, expect } => {
                changes.durable |= self.expect(path, *expect)?.owner.is_none();
                if !self.children(path).is_empty() {
                    return Err(Error::NotEmpty { path: path.clone() });
                }
                self.nodes.remove(path);
                changes.paths.insert(path.clone());
                Ok(OpResult::Deleted)
            }
        }
    }

    /// Makes `path` and the parents it lacks.
    fn make(&mut self, path: &str, changes: &mut Changes) -> Result<(), Error> {
        if let Some(node) = self.nodes.get(path) {
            return if node.owner.is_some() { Err(no_children(path)) } else { Ok(()) };
        }
        let parent = paths::parent(path).unwrap_or("/");
        self.make(parent, changes)?;
        self.insert(path, parent, Stored::new(Bytes::new(), None))?;
        changes.durable = true;
        changes.paths.insert(path.to_owned());
        Ok(())
    }

    fn insert(&mut self, path: &str, parent: &str, node: Stored) -> Result<(), Error> {
        if self.nodes.contains_key(path) {
            return Err(Error::NodeExists { path: path.to_owned() });
        }
        if let Some(parent) = self.nodes.get_mut(parent) {
            if parent.owner.is_some() {
                return Err(no_children(path));
            }
            parent.counter += 1;
        }
        self.nodes.insert(path.to_owned(), node);
        Ok(())
    }

    fn expect(&mut self, path: &str, expect: Expect) -> Result<&mut Stored, Error> {
        let node = self.nodes.get_mut(path).ok_or_else(|| Error::NoNode { path: path.to_owned() })?;
        match expect {
            Expect::Version(version) if version != node.version => {
                Err(Error::BadVersion { path: path.to_owned() })
            }
            _ => Ok(node),
        }
    }
}

fn no_children(path: &str) -> Error {
    Error::NoChildrenForEphemerals { path: path.to_owned() }
}
