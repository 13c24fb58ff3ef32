"""The design document of `_users`, which CouchDB has there: the rules for users' documents, for whoever replicates it.

couchlet keeps to these rules by itself (`couchlet.auth.users`), and does not run the function.
"""

from __future__ import annotations

from typing import Final

USERS_DESIGN_ID: Final = "_design/_auth"

_VALIDATE: Final = """
function (newDoc, oldDoc, userCtx, secObj) {
  function refuse(reason) { throw({forbidden: reason}); }
  function has(list, item) { return (list || []).indexOf(item) !== -1; }
  var admins = (secObj && secObj.admins) || {};
  var isAdmin = has(userCtx.roles, '_admin');
  if (newDoc._deleted === true) {
    if (!isAdmin && userCtx.name !== oldDoc.name) { refuse('Only admins may delete other user docs.'); }
    return;
  }
  isAdmin = isAdmin || has(admins.names, userCtx.name);
  userCtx.roles.forEach(function (role) { isAdmin = isAdmin || has(admins.roles, role); });

  if (newDoc.type !== 'user') { refuse('doc.type must be user'); }
  if (!newDoc.name) { refuse('doc.name is required'); }
  if (!newDoc.roles) { refuse('doc.roles must exist'); }
  if (!isArray(newDoc.roles)) { refuse('doc.roles must be an array'); }
  newDoc.roles.forEach(function (role) {
    if (typeof role !== 'string') { refuse('doc.roles can only contain strings'); }
    if (role[0] === '_' && role !== '_metrics') {
      refuse('No system roles (starting with underscore) in users db.');
    }
  });
  if (newDoc._id !== 'org.couchdb.user:' + newDoc.name) {
    refuse('Doc ID must be of the form org.couchdb.user:name');
  }
  if (newDoc.name[0] === '_') { refuse('Username may not start with underscore.'); }
  if (newDoc.name.indexOf(':') !== -1) { refuse('Character `:` is not allowed in usernames.'); }
  if (oldDoc && oldDoc.name !== newDoc.name) { refuse('Usernames can not be changed.'); }

  if (newDoc.password_sha && !newDoc.salt) { refuse('Users with password_sha must have a salt.'); }
  if (newDoc.password_scheme && !has(['simple', 'pbkdf2', 'simple+pbkdf2'], newDoc.password_scheme)) {
    refuse('Password scheme `' + newDoc.password_scheme + '` not supported.');
  }
  if (newDoc.password_scheme === 'pbkdf2') {
    if (typeof newDoc.iterations !== 'number') { refuse('iterations must be a number.'); }
    if (typeof newDoc.derived_key !== 'string') { refuse('derived_key must be a string.'); }
  }

  if (isAdmin) { return; }
  if (oldDoc) {
    if (userCtx.name !== newDoc.name) { refuse('You may only update your own user document.'); }
    var before = (oldDoc.roles || []).slice().sort(), after = newDoc.roles.slice().sort();
    if (JSON.stringify(before) !== JSON.stringify(after)) { refuse('Only _admin may edit roles'); }
  } else if (newDoc.roles.length) {
    refuse('Only _admin may set roles');
  }
}
"""

USERS_DESIGN: Final = {"language": "javascript", "validate_doc_update": _VALIDATE.strip()}
"""Its members."""
